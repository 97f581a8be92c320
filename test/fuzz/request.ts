/** What is tried: a request as its parts, which become bytes without any check. */
export type Input = {
  /** The operation that it is made from, like `PUT /users/{user_id}`. */
  route: string;
  /** What is wrong with it, or `valid`. */
  kind: string;
  method: string;
  /** The path with its query; every character is a byte, as in the headers. */
  target: string;
  headers: Record<string, string>;
  body: Buffer | null;
};

/** The bytes of a request. The length is always right: what is wrong with framing is tried elsewhere. */
export function toRequest({ method, target, headers, body }: Input): Buffer {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const length = body === null ? '' : `content-length: ${body.length}\r\n`;
  const head = `${method} ${target} HTTP/1.1\r\nhost: fuzz\r\n${lines.join('')}${length}\r\n`;
  return Buffer.concat([Buffer.from(head, 'latin1'), body ?? Buffer.alloc(0)]);
}

/** A target that ends where it should: what would end it is escaped. */
export function fitTarget(target: string): string {
  return target.replace(/[\r\n ]/g, (character) => `%${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

/** A header's value that ends where it should. */
export function fitHeader(value: string): string {
  return value.replace(/[\r\n]/g, ' ');
}

/** Each byte of a text's UTF-8 as a character, as a target and a header want it. */
export function toLatin1(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** What a client asks of PostgreSQL at a time: bytes up to where it waits for an answer, and the SQL in them. */
export type Request = { bytes: Buffer; sql: string };

/** Types of messages in PostgreSQL's protocol, version 3 ("Message Formats"): each is a letter, a length and its content. */
const [PARSE, BIND, QUERY, SYNC] = ['P', 'B', 'Q', 'S'];
const HEADER_BYTES = 5;

/** Reads what one client sends, in whatever pieces it comes, and returns what it asks as soon as that is complete. */
export function createReader(): (chunk: Buffer) => Request[] {
  let rest = Buffer.alloc(0);
  let begun: Buffer[] = [];
  let sql = '';
  let isStarted = false;
  const statements = new Map<string, string>();
  const take = (length: number) => {
    const bytes = rest.subarray(0, length);
    rest = rest.subarray(length);
    return bytes;
  };
  const readMessage = (): Request | null | undefined => {
    // The first message has a length only.
    const lengthAt = isStarted ? 1 : 0;
    if (rest.length < lengthAt + 4) return null;
    const length = lengthAt + rest.readUInt32BE(lengthAt);
    if (rest.length < length) return null;
    const message = take(length);
    const type = isStarted ? message.toString('latin1', 0, 1) : '';
    isStarted = true;
    begun.push(message);
    sql = findSql(type, message, statements) ?? sql;
    if (type === PARSE || type === BIND || ['D', 'E', 'C', 'H'].includes(type)) return undefined;
    const request = { bytes: Buffer.concat(begun), sql: type === QUERY || type === SYNC ? sql : '' };
    begun = [];
    sql = '';
    return request;
  };
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    const requests: Request[] = [];
    for (let request = readMessage(); request !== null; request = readMessage()) {
      if (request !== undefined) requests.push(request);
    }
    return requests;
  };
}

/** The SQL that a message has or names. A statement that is prepared under a name comes without its text from then on. */
function findSql(type: string, message: Buffer, statements: Map<string, string>): string | undefined {
  const texts = message.subarray(HEADER_BYTES).toString('utf8').split('\0', 2);
  const [first = '', second = ''] = texts;
  if (type === QUERY) return first;
  if (type === PARSE) statements.set(first, second);
  // A portal's name, then the statement's.
  if (type === BIND) return statements.get(second);
  return undefined;
}

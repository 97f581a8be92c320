import { isUtf8 } from 'node:buffer';

/** A line that is not blank, under its number in the body, from 1 on: its text, or why it cannot be read. */
export type Line = { number: number; text: string } | { number: number; fault: string };

export type LineReader = {
  /** The lines that end in this chunk. */
  read: (chunk: Buffer) => Line[];
  /** The last line, when the body does not end with a line feed. */
  end: () => Line[];
};

/** Ten times the longest object that is accepted with every character escaped. What is longer is never held as a whole. */
const LINE_BYTES_MAX = 16 * 1024;
const TOO_LONG = `is longer than ${LINE_BYTES_MAX} bytes`;
const NOT_UTF8 = 'is not valid UTF-8';

const LINE_FEED = 0x0a;
/** JSON's own white space (RFC 8259, section 2), so that a carriage return at the end of a line is none of its content. */
const BLANK = /^[ \t\r]*$/;
const BYTE_ORDER_MARK = '\uFEFF';
const NOTHING = Buffer.alloc(0);

/** Cuts a body of UTF-8 into lines, however its chunks are cut. Holds one chunk and the beginning of one line. */
export function createLineReader(): LineReader {
  let ended = 0;
  /** The beginning of a line whose end has not arrived. */
  let rest: Buffer = NOTHING;
  /** That line is too long already, and what has arrived of it is forgotten. */
  let isSkipping = false;

  const keep = (bytes: Buffer) => {
    if (isSkipping || bytes.length > LINE_BYTES_MAX + 1) isSkipping = true;
    // A copy, or a few bytes would hold the whole chunk.
    rest = isSkipping ? NOTHING : Buffer.from(bytes);
  };
  const cut = (bytes: Buffer): Line[] => {
    const lines: Line[] = [];
    if (isUtf8(bytes)) {
      for (const text of bytes.toString().split('\n')) addText(lines, ++ended, text);
    } else {
      for (const line of splitBytes(bytes)) addBytes(lines, ++ended, line);
    }
    return lines;
  };

  const finishSkipped = (): Line[] => {
    isSkipping = false;
    return [{ number: ++ended, fault: TOO_LONG }];
  };

  return {
    read(chunk) {
      const first = chunk.indexOf(LINE_FEED);
      if (first === -1) {
        keep(rest.length === 0 ? chunk : Buffer.concat([rest, chunk]));
        return [];
      }
      const skipped = isSkipping ? finishSkipped() : [];
      const fresh = skipped.length > 0 ? chunk.subarray(first + 1) : chunk;
      const bytes = rest.length === 0 ? fresh : Buffer.concat([rest, fresh]);
      const last = bytes.lastIndexOf(LINE_FEED);
      keep(bytes.subarray(last + 1));
      return last === -1 ? skipped : [...skipped, ...cut(bytes.subarray(0, last))];
    },
    end() {
      if (isSkipping) return finishSkipped();
      return rest.length === 0 ? [] : cut(rest);
    },
  };
}

function* splitBytes(bytes: Buffer): Iterable<Buffer> {
  let start = 0;
  for (let end = bytes.indexOf(LINE_FEED); end !== -1; end = bytes.indexOf(LINE_FEED, start)) {
    yield bytes.subarray(start, end);
    start = end + 1;
  }
  yield bytes.subarray(start);
}

function addBytes(lines: Line[], number: number, bytes: Buffer): void {
  if (isUtf8(bytes)) addText(lines, number, bytes.toString());
  else lines.push({ number, fault: bytes.length > LINE_BYTES_MAX + 1 ? TOO_LONG : NOT_UTF8 });
}

function addText(lines: Line[], number: number, given: string): void {
  const unmarked = number === 1 && given.startsWith(BYTE_ORDER_MARK) ? given.slice(1) : given;
  const text = unmarked.endsWith('\r') ? unmarked.slice(0, -1) : unmarked;
  // A character of UTF-16 is three bytes of UTF-8 at most, so that hardly any line has to be measured.
  const isTooLong = text.length * 3 > LINE_BYTES_MAX && Buffer.byteLength(text) > LINE_BYTES_MAX;
  if (isTooLong) lines.push({ number, fault: TOO_LONG });
  else if (!BLANK.test(text)) lines.push({ number, text });
}

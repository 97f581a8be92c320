import { isUtf8 } from 'node:buffer';
import type { FastifyInstance } from 'fastify';
import { ServiceError } from '../errors.ts';

/** Ours are two levels deep. Deep ones cost the stack of whatever walks over them. */
const DEPTH_MAX = 16;
/** Twice the ids that a notification may name. What costs time is not bytes but values: 2 MiB of `{},` are 700,000. */
const VALUES_MAX = 20_000;
/** Ours have six. Each name is an entry in a table, which costs ten times as much as a value of a list. */
const MEMBERS_MAX = 1_000;

/** Only JSON is read. Invalid UTF-8 is refused instead of replaced; an empty body is no body, which a route may allow. */
export function parseJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    const fault = body.length === 0 ? null : findFault(body);
    if (body.length === 0) done(null, undefined);
    else if (fault !== null) done(new ServiceError('malformed_request', fault));
    else void parse(request, body.toString('utf8'), done);
  });
}

function findFault(body: Buffer): string | null {
  if (!isUtf8(body)) return 'The request body is not valid UTF-8.';
  const { depth, values, members } = measureJson(body);
  if (depth > DEPTH_MAX) return `The request body is nested deeper than ${DEPTH_MAX} levels.`;
  if (values > VALUES_MAX) return `The request body has more than ${VALUES_MAX} values.`;
  if (members > MEMBERS_MAX) return `The request body has more than ${MEMBERS_MAX} fields.`;
  return null;
}

const [QUOTE, BACKSLASH, COMMA, COLON, OPEN, CLOSE] = Buffer.from('"\\,:{}');

/**
 * How deep a text nests and about how many values it has, before it costs more than one look at each byte. Text that is
 * no JSON has some measure too; the parser refuses it. Stops at what is too much.
 */
function measureJson(body: Buffer): { depth: number; values: number; members: number } {
  let level = 0;
  let depth = 0;
  let values = 1;
  let members = 0;
  let quoted = false;
  for (let n = 0; n < body.length && depth <= DEPTH_MAX && values <= VALUES_MAX && members <= MEMBERS_MAX; n++) {
    const byte = body[n] ?? 0;
    // Brackets and braces differ in this bit alone.
    const shape = byte | 0x20;
    if (quoted) {
      if (byte === BACKSLASH) n += 1;
      else if (byte === QUOTE) quoted = false;
    } else if (byte === QUOTE) quoted = true;
    else if (byte === COMMA) values += 1;
    else if (byte === COLON) members += 1;
    else if (shape === OPEN) {
      values += 1;
      level += 1;
      if (level > depth) depth = level;
    } else if (shape === CLOSE) level -= 1;
  }
  return { depth, values, members };
}

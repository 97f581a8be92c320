import { pick } from '../support/random.ts';

/** Changes of one request. */
const CHANGES_MAX = 2;
/** Bytes that mean something to a parser of HTTP. */
const TELLING = ['\r\n', '\n', '\r', '\0', ' ', '\t', ':', ';', ',', '0', 'f', '-', '%', '\xff', '\r\n\r\n', '\r\n '];

/** A request with some of its bytes flipped, cut out, doubled, or others put between. */
export function mutate(request: Buffer, random: () => number): Buffer {
  let mutated = request;
  const changes = 1 + Math.floor(random() * CHANGES_MAX);
  for (let n = 0; n < changes; n++) mutated = pick(random, CHANGES)(mutated, random);
  return mutated;
}

type Change = (request: Buffer, random: () => number) => Buffer;

const CHANGES: Change[] = [
  (request, random) => {
    const flipped = Buffer.from(request);
    const at = Math.floor(random() * request.length);
    flipped[at] = (flipped[at] ?? 0) ^ (1 << Math.floor(random() * 8));
    return flipped;
  },
  (request, random) => request.subarray(0, Math.floor(random() * request.length)),
  (request, random) => {
    const [from, to] = [random(), random()]
      .map((share) => Math.floor(share * request.length))
      .toSorted((a, b) => a - b);
    return Buffer.concat([request.subarray(0, from), request.subarray(to)]);
  },
  (request, random) => splice(request, random, Buffer.from(pick(random, TELLING), 'latin1')),
  (request, random) => splice(request, random, Buffer.from([Math.floor(random() * 256)])),
  (request, random) => {
    const from = Math.floor(random() * request.length);
    return splice(request, random, request.subarray(from, from + Math.floor(random() * 40)));
  },
];

function splice(request: Buffer, random: () => number, bytes: Buffer): Buffer {
  const at = Math.floor(random() * (request.length + 1));
  return Buffer.concat([request.subarray(0, at), bytes, request.subarray(at)]);
}

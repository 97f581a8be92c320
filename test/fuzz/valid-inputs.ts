import * as fc from 'fast-check';
import { pick } from '../support/random.ts';
import { createStream, valid } from './arbitraries.ts';
import { composeValid, type Draw, type Source } from './base.ts';
import type { Operation, Parameter } from './document.ts';
import type { Input } from './request.ts';

/** Headers of which the document says no more than that they are text. A wait is short, as there is nothing to wait for. */
const HEADERS: Record<string, fc.Arbitrary<string>> = {
  prefer: fc.constantFrom('wait=0', 'wait=1', 'respond-async', 'return=minimal, wait=1'),
  'idempotency-key': fc.oneof(
    fc.uuid(),
    fc.integer({ min: 0, max: 200 }).map((n) => `key-${n}`),
  ),
  traceparent: fc.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/),
};

/** Text that a header carries as it is. */
const HEADER_TEXT = fc.stringMatching(/^[!-~]([ -~]{0,60}[!-~])?$/);

/** Requests that a service has to accept, of every operation alike. */
export function createValidInputs(operations: Operation[], source: Source, seed: number): () => Input {
  const streams = operations.map((operation, n) => ({ operation, next: createStream(drawFor(operation), seed + n) }));
  return () => {
    const { operation, next } = pick(source.random, streams);
    return composeValid(operation, next(), source);
  };
}

function drawFor({ parameters, body }: Operation): fc.Arbitrary<Draw> {
  const drawn = Object.fromEntries(parameters.map((parameter) => [parameter.name, drawParameter(parameter)]));
  return fc.record({
    parameters: fc.record(drawn, { requiredKeys: [] }),
    body: body === null ? fc.constant(null) : (valid(body) as fc.Arbitrary<Record<string, unknown>>),
  });
}

function drawParameter({ in: part, name, schema }: Parameter): fc.Arbitrary<unknown> {
  return part === 'header' ? (HEADERS[name] ?? HEADER_TEXT) : valid(schema);
}

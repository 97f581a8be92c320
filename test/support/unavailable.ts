import { expect } from 'vitest';
import type { Contract } from './contract.ts';

const NDJSON = { 'content-type': 'application/x-ndjson' };

/** A well-formed call of every route that needs the database. */
export const CALLS = [
  ['GET', '/preferences'],
  ['POST', '/preferences', { user_id: 1 }],
  ['GET', '/preferences/1'],
  ['PUT', '/preferences/1', {}],
  ['PATCH', '/preferences/1', { sms_enabled: true }],
  ['DELETE', '/preferences/1'],
  ['GET', '/users'],
  ['GET', '/users/1'],
  ['PUT', '/users/1', {}],
  ['DELETE', '/users/1'],
  ['POST', '/users/import', '{"user_id": 1}\n', NDJSON],
  ['POST', '/preferences/import', '{"user_id": 1}\n', NDJSON],
  ['GET', '/notifications'],
  ['POST', '/notifications', { payload: 'Hello' }],
  ['POST', '/notifications/preview', { payload: 'Hello' }],
  ['GET', '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55'],
  ['GET', '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55/messages'],
  ['GET', '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55/failures'],
  ['GET', '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55/events'],
  ['POST', '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55/cancel'],
  ['POST', '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55/pause'],
  ['POST', '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55/resume'],
  ['POST', '/notifications/01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55/retry'],
] as const;

/** Makes every call at once. Each has to answer 503, and when to try again, in less than 5 s. */
export async function expectUnavailable(api: Contract): Promise<void> {
  const replies = await Promise.all(
    CALLS.map(async ([method, path, body, headers]) => {
      const startedAt = Date.now();
      const { status, body: problem } = await api.call(method, path, body, headers);
      return { call: `${method} ${path}`, status, problem, inTime: Date.now() - startedAt < 5_000 };
    }),
  );

  for (const reply of replies) {
    expect(reply).toMatchObject({ status: 503, problem: { code: 'unavailable' }, inTime: true });
  }
}

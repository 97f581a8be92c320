import type { Scope } from '../../src/auth/principal.ts';
import type { Database } from '../../src/database.ts';
import type { Operation } from './operations.ts';

/** The notification that `storeSampleRows` stores. */
export const SAMPLE_NOTIFICATION = '01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55';
/** One that nobody has. */
export const MISSING_NOTIFICATION = '01932f3c-7a1e-7c1f-9d6b-000000000000';

/** User 1 has preferences and user 2 has none. The notification is for later, so that it can be canceled. */
export async function storeSampleRows(db: Database, owner: string): Promise<void> {
  await db.$executeRaw`delete from notifications`;
  await db.$executeRaw`delete from preferences`;
  await db.$executeRaw`delete from users`;
  await db.user.createMany({ data: [1, 2].map((user_id) => ({ user_id, email: `user${user_id}@example.com` })) });
  await db.preference.create({ data: { user_id: 1, email_enabled: true } });
  const audience = { everyone: false, user_ids: [1], targeted: 1, channels: ['email'] };
  const send_at = new Date('2999-01-01T00:00:00Z');
  const text = { id: SAMPLE_NOTIFICATION, payload: 'Your statement is ready', created_by: owner };
  await db.notification.create({ data: { ...text, ...audience, send_at, status: 'scheduled' } });
}

/** A request: the path with its query, the body if it has one, and the headers that go with it. */
export type Sample = { path: string; body?: object | string; headers: Record<string, string> };

/**
 * A valid request of an operation, which on the rows of `storeSampleRows` succeeds. `scope` is the one that the caller has,
 * where it depends on the body which is needed.
 */
export function findSample({ operationId, template, mediaType }: Operation, scope?: Scope): Sample {
  const sample = SAMPLES[operationId];
  if (sample === undefined) throw new Error(`The operation ${operationId} has no sample in test/support/samples.ts.`);
  const { user_id = 1, body } = typeof sample === 'function' ? sample(scope) : sample;
  const path = template.replace('{user_id}', String(user_id)).replace('{id}', SAMPLE_NOTIFICATION);
  return body === undefined ? { path, headers: {} } : { path, body, headers: { 'content-type': mediaType } };
}

type Entry = { user_id?: number; body?: object | string };

const notify = (scope?: Scope) => ({
  body: { payload: 'Hello', ...(scope !== 'notifications:broadcast' && { user_ids: [1] }) },
});

/** By operation. */
const SAMPLES: Record<string, Entry | ((scope?: Scope) => Entry)> = {
  getLiveness: {},
  getReadiness: {},
  getMetrics: {},
  listAuditEntries: {},
  listPreferences: {},
  createPreference: { body: { user_id: 2 } },
  getPreference: {},
  putPreference: { user_id: 2, body: { sms_enabled: true } },
  patchPreference: { body: { sms_enabled: true } },
  deletePreference: {},
  listUsers: {},
  getUser: {},
  putUser: { user_id: 3, body: { email: 'ada@example.com' } },
  eraseUser: {},
  importUsers: { body: '{"user_id": 3, "email": "ada@example.com"}\n' },
  importPreferences: { body: '{"user_id": 3, "sms_enabled": true}\n' },
  createNotification: notify,
  previewNotification: notify,
  listNotifications: {},
  getNotification: {},
  listSentMessages: {},
  listFailures: {},
  watchNotification: {},
  cancelNotification: {},
  pauseNotification: {},
  resumeNotification: {},
  retryNotification: {},
};

import { startProcess } from '../support/process.ts';
import { closeBooks } from './books.ts';
import { untilCompleted } from './client.ts';
import { describeService } from './fleet.ts';
import { until } from './rig.ts';
import { describeRow } from './row.ts';

const END_MS_MAX = 5_000;
const size = { users: { full: 100_000, short: 2_000 }, limitSeconds: { full: 600, short: 120 } };

describeRow({ number: 20, fault: 'started and stopped again and again', ...size }, async (rig) => {
  const times = rig.isShort ? 10 : 50;
  const quiet = { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true' };
  const env = { ...(await describeService(rig, 'a')), ...quiet };
  const script = '../../test/faults/start-and-stop.mjs';
  const process = startProcess(script, { cwd: rig.folder, env, args: [String(times)] });
  await until(
    rig,
    'the last stop',
    times * 5_000,
    () => process.output.stdout.includes('"resources"') || process.output.stderr !== '',
  );
  const endsAt = performance.now();
  const ended = await Promise.race([
    process.exited,
    until(rig, 'the process to end', END_MS_MAX, () => false).catch(() => null),
  ]);
  const endMs = performance.now() - endsAt;
  const ids = [...process.output.stdout.matchAll(/"accepted":"([^"]+)"/g)].map(([, id = '']) => id);
  for (const id of ids) rig.promised.set(id, [3, 4, 5]);
  const left = JSON.parse(/\{"resources".*\}/.exec(process.output.stdout)?.[0] ?? '{}') as Record<string, string[]>;
  const { rows: sessions } = await rig.sql.query(
    `select from pg_stat_activity where application_name = 'notification-service' and datname = current_database()`,
  );
  // What the last stop gave back.
  await untilCompleted(rig);

  const books = await closeBooks(rig);
  return {
    books,
    need: {
      'it starts and stops so often': ids.length === times,
      'no handle is left': left['resources']?.length === 0,
      'no rejection is unhandled': left['rejections']?.length === 0,
      'nothing is warned of': left['warnings']?.length === 0,
      'no session is left in the database': sessions.length === 0,
      'the process ends by itself': ended?.code === 0,
    },
    figures: { times, 'end ms': Math.round(endMs), left: Object.values(left).flat().join(', ') || 'nothing' },
  };
});

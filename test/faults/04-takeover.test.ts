import { closeBooks } from './books.ts';
import { untilCompleted } from './client.ts';
import { crashRepeatedly, duplicatesOf, measureResumes } from './crashes.ts';
import { paceMs, startFleet } from './fleet.ts';
import { slowDown } from './plans.ts';
import { describeRow } from './row.ts';

/** From the kill to the first message of a page that was left behind: the lease, and a look for work. */
const RESUME_MS_MAX = 15_000;
/**
 * A slow SNS, with which a page takes two seconds. To have one broadcast last for all kills it would have to take a second a
 * call, and who is free to take over is a matter of how long a page takes, too.
 */
const CALL_MS = 200;
const size = { users: { full: 100_000, short: 3_000 }, limitSeconds: { full: 900, short: 120 } };

describeRow({ number: 4, fault: 'time until a page is taken over', ...size }, async (rig) => {
  const plan = rig.isShort ? { kills: 4, seconds: 14 } : { kills: 30, seconds: 200 };
  const fleet = await startFleet(rig, ['a', 'b']);
  slowDown(rig, rig.isShort ? paceMs(rig, plan.seconds) : CALL_MS);

  const kills = await crashRepeatedly(rig, fleet, plan);
  await untilCompleted(rig);

  const books = await closeBooks(rig);
  const resumes = (await measureResumes(rig, kills)).toSorted((a, b) => a - b);
  const worst = resumes.at(-1) ?? Number.POSITIVE_INFINITY;
  return {
    ...{ books, resumeMs: worst, duplicatesMax: duplicatesOf(rig, plan.kills) },
    need: { 'every page left behind goes on within 15 s': worst <= RESUME_MS_MAX },
    figures: {
      ...{ kills: plan.kills, 'pages taken over': resumes.length },
      'median s': ((resumes[Math.floor(resumes.length / 2)] ?? 0) / 1_000).toFixed(1),
    },
  };
});

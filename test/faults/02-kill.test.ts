import { closeBooks } from './books.ts';
import { untilCompleted } from './client.ts';
import { crashRepeatedly, duplicatesOf, measureResumes } from './crashes.ts';
import { paceMs, startFleet } from './fleet.ts';
import { slowDown } from './plans.ts';
import { describeRow } from './row.ts';

const size = { users: { full: 100_000, short: 3_000 }, limitSeconds: { full: 600, short: 120 } };

describeRow({ number: 2, fault: 'kill -9 of one instance, again and again', ...size }, async (rig) => {
  const plan = rig.isShort ? { kills: 3, seconds: 9 } : { kills: 20, seconds: 90 };
  const fleet = await startFleet(rig, ['a', 'b']);
  slowDown(rig, paceMs(rig, plan.seconds));

  const kills = await crashRepeatedly(rig, fleet, plan);
  slowDown(rig, 0);
  await untilCompleted(rig);

  const books = await closeBooks(rig);
  const resumes = await measureResumes(rig, kills);
  return {
    ...{ books, resumeMs: Math.max(0, ...resumes), duplicatesMax: duplicatesOf(rig, plan.kills) },
    need: { 'something was under way': books.recovered.length > 0 },
    figures: { kills: plan.kills, 'pages taken over': resumes.length },
  };
});

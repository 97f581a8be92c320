import type { Progress } from './replies.ts';
import { showDuration, showNumber } from './terminal-text.ts';

/** A wider bar says no more. */
const BAR_CHARS_MAX = 40;
/** A shorter bar says nothing, and is left out. */
const BAR_CHARS_MIN = 5;

/** How far a notification has come, in words; `expected` is how many users everyone was when they were counted. */
export function describeProgress(progress: Progress, expected: number | null): string {
  return `${progress.status}: ${[showPercent(progress), ...describeParts(progress, expected)].join(', ')}`;
}

/** The same with a bar, in at most `width` characters: without what does not fit, the last first. */
export function drawProgress(progress: Progress, expected: number | null, width: number): string {
  const [users = '', ...rest] = describeParts(progress, expected);
  const all = [users, progress.status, ...rest];
  const percent = showPercent(progress).padStart(5);
  for (let kept = all.length; kept > 0; kept--) {
    const text = ` ${all.slice(0, kept).join('  ')}`;
    const chars = width - percent.length - text.length - ' []'.length;
    if (chars >= BAR_CHARS_MIN)
      return `${percent} ${drawBar(progress.progress, Math.min(chars, BAR_CHARS_MAX))}${text}`;
  }
  return `${percent} ${users}`.slice(0, width);
}

function drawBar(share: number, chars: number): string {
  return `[${'='.repeat(Math.floor(share * chars)).padEnd(chars)}]`;
}

/** Never 100 % before it is. */
function showPercent({ progress }: Progress): string {
  return `${Math.floor(progress * 100)} %`;
}

function describeParts({ audience, progress, rate, counts }: Progress, expected: number | null): string[] {
  const done = counts.targeted - counts.pending;
  const total = audience.count ?? expected;
  const about = audience.count === null ? '~' : '';
  return [
    total === null ? `${showNumber(done)} users` : `${showNumber(done)}/${about}${showNumber(total)} users`,
    ...(rate === null ? [] : [`${showNumber(rate)}/s`]),
    // From the rate, as `eta` is a time of the service's clock, which may differ from ours.
    ...(rate !== null && rate > 0 && progress > 0 ? [`${showDuration((done / progress - done) / rate)} left`] : []),
  ];
}

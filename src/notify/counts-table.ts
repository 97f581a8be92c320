import type { PreviewReply, Progress } from './replies.ts';
import { showNumber } from './terminal-text.ts';

/** A line of a table; one that is part of the line above it is indented. */
type Row = { name: string; value: string; part?: boolean };

/** What a notification to everyone would come to, as a table. */
export function describePreview(preview: PreviewReply): string {
  const { published, suppressed, by_channel, messages, estimated_seconds } = preview;
  return layOut([
    { name: 'would be told', value: showNumber(published) },
    ...countParts(by_channel),
    { name: 'not told', value: showNumber(sum(suppressed)) },
    ...countParts(keepPositive(suppressed)),
    { name: 'messages', value: showNumber(messages) },
    { name: 'seconds at least', value: showSeconds(estimated_seconds) },
  ]);
}

/** What has become of a notification, as a table. */
export function describeOutcome({ started_at, completed_at, counts }: Progress): string {
  const { published, failed, pending, suppressed, by_channel, messages } = counts;
  const untold = keepPositive(suppressed);
  const seconds = ((completed_at?.getTime() ?? 0) - (started_at?.getTime() ?? 0)) / 1000;
  const hasRun = started_at !== null && completed_at !== null && seconds > 0;
  return layOut([
    { name: 'told', value: showNumber(published) },
    ...countParts(by_channel),
    ...(Object.keys(untold).length > 0 ? [{ name: 'not told', value: showNumber(sum(untold)) }] : []),
    ...countParts(untold),
    { name: 'failed', value: showNumber(failed) },
    ...(pending > 0 ? [{ name: 'pending', value: showNumber(pending) }] : []),
    { name: 'messages', value: showNumber(messages) },
    ...(hasRun ? [{ name: 'seconds', value: showSeconds(seconds) }] : []),
    ...(hasRun ? [{ name: 'told/s', value: showNumber(published / seconds) }] : []),
  ]);
}

function sum(counts: Record<string, number>): number {
  return Object.values(counts).reduce((total, users) => total + users, 0);
}

function keepPositive(counts: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).filter(([, users]) => users > 0));
}

/** The names are those of our own registries: the schema of the reply has no others. */
function countParts(counts: Record<string, number>): Row[] {
  return Object.entries(counts).map(([key, users]) => ({
    name: key.replaceAll('_', ' '),
    value: showNumber(users),
    part: true,
  }));
}

/** Short ones to the millisecond. */
function showSeconds(seconds: number): string {
  return seconds.toLocaleString('en-US', { maximumFractionDigits: seconds < 10 ? 3 : 0 });
}

function layOut(rows: Row[]): string {
  const names = rows.map(({ name, part }) => (part ? `    ${name}` : `  ${name}`));
  const nameWidth = Math.max(...names.map((name) => name.length));
  const valueWidth = Math.max(...rows.map(({ value }) => value.length));
  return rows.map(({ value }, row) => `${names[row]?.padEnd(nameWidth)}  ${value.padStart(valueWidth)}`).join('\n');
}

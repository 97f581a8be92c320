/** What logs warn of, each with how often and why: to explain a row that is missed. */
export function listWarnings(logs: string[]): string {
  const counts = new Map<string, number>();
  for (const line of logs.flatMap((log) => log.split('\n')).filter((one) => WARNING.test(one))) {
    const { msg, reason, error, err } = JSON.parse(line) as Line;
    const text = [msg, error, reason ?? err?.message].filter((part) => part !== undefined).join(': ');
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  return [...counts].map(([text, count]) => `${count} × ${text}`).join('; ') || 'none';
}

type Line = { msg: string; reason?: string; error?: string; err?: { message?: string } };

/** A line of at least the level `warn` that is complete. */
const WARNING = /^\{"level":[456]0,.*\}$/;

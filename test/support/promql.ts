/** A series as it is scraped. */
export type Series = { name: string; labels: Record<string, string> };

/** What Prometheus adds to whatever it scrapes, and what it says of a scrape. */
const TARGET_LABELS = ['job', 'instance'];
const TARGET_METRICS = ['up'];
/** Callers decide which statuses there are. */
const FREE_LABELS = ['status'];

const KEYWORDS = new Set(['and', 'or', 'unless', 'bool', 'offset', 'by', 'without', 'on', 'ignoring']);

/** The series of a text in the format of Prometheus. */
export function parseSeries(text: string): Series[] {
  return [...text.matchAll(/^(\w+)(?:\{(.*)\})? \S+$/gm)].map(([, name = '', labels = '']) => ({
    name,
    labels: Object.fromEntries([...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, label, value]) => [label, value])),
  }));
}

/** What a PromQL expression asks for that no series has, as lines: metrics, labels, and values of labels. */
export function findUnknown(expression: string, series: Series[]): string[] {
  // A range may be a variable of Grafana's.
  const instant = expression.replaceAll(/\[[^\]]*\]/g, '');
  const groups = [...instant.matchAll(/\b(?:by|without|on|ignoring)\s*\(([^)]*)\)/g)];
  const ungrouped = groups.reduce((left, [group]) => left.replace(group, ' '), instant);
  const selectors = [...ungrouped.matchAll(/([a-zA-Z_]\w*)\s*(?:\{([^}]*)\})?(?!\w*\s*\()/g)]
    .map(([, name = '', matchers = '']) => ({ name, matchers }))
    .filter(({ name }) => !KEYWORDS.has(name));
  const labels = groups.flatMap(([, list = '']) => list.split(',').map((label) => label.trim()));
  const known = series.filter(({ name }) => selectors.some((selector) => selector.name === name));
  return [
    ...(selectors.length === 0 ? [`no metric in ${expression}`] : []),
    ...selectors.flatMap((selector) => judgeSelector(selector, series)),
    ...labels
      .filter((label) => !TARGET_LABELS.includes(label) && !known.some((one) => label in one.labels))
      .map((label) => `no label ${label}`),
  ];
}

function judgeSelector({ name, matchers }: { name: string; matchers: string }, series: Series[]): string[] {
  const own = series.filter((one) => one.name === name);
  if (own.length === 0 && !TARGET_METRICS.includes(name)) return [`no metric ${name}`];
  return [...matchers.matchAll(/(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"/g)].flatMap(([, label = '', operator, value = '']) => {
    if (TARGET_LABELS.includes(label)) return [];
    if (!own.some(({ labels }) => label in labels)) return [`no label ${label} of ${name}`];
    if (FREE_LABELS.includes(label)) return [];
    const values = operator?.endsWith('~') ? value.split('|') : [value];
    return values
      .filter((one) => !own.some(({ labels }) => labels[label] === one))
      .map((one) => `no ${label}="${one}" of ${name}`);
  });
}

/** Puts what `npm run bench -- --json` has found, kept in docs/performance.jsonl, into docs/performance.md and its chart. */

import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { drawPng } from './draw.mjs';

const SOURCE = new URL('./performance.jsonl', import.meta.url);
const DOCUMENT = new URL('./performance.md', import.meta.url);
const CHART = new URL('./performance.png', import.meta.url);

/** What stands between them in the document is made here. */
const [BEGIN, END] = ['<!-- figures -->', '<!-- end of figures -->'];

/** Messages per second that SNS takes unless AWS agreed to more (AWS SNS quotas, Publish API). */
const QUOTAS = [
  { regions: 'us-east-1', rate: 30_000 },
  { regions: 'us-west-2, eu-west-1', rate: 9_000 },
  { regions: 'Ohio, N. California, Frankfurt, Mumbai, Seoul, Singapore, Sydney, Tokyo', rate: 1_500 },
  { regions: 'others', rate: 300 },
];

/** @typedef {{ bench: string, figure: string, value: number, unit: string, yardstick: number | null, ratio: number | null, goal: string | null, pass: boolean | null }} Figure */

const figures = (await readFile(SOURCE, 'utf8'))
  .split('\n')
  .filter((line) => line !== '')
  .map((line) => /** @type {Figure} */ (JSON.parse(line)));
const text = await readFile(DOCUMENT, 'utf8');
const [before, rest] = text.split(BEGIN);
const [, after] = rest?.split(END) ?? [];
if (after === undefined) throw new Error(`docs/performance.md needs ${BEGIN} and ${END}`);
const made = `${renderTable(figures)}\n\n${renderQuotas(figures)}`;
await writeFile(DOCUMENT, `${before}${BEGIN}\n${made}\n${END}${after}`);
await drawPng(renderChart(figures), fileURLToPath(CHART));

/**
 * @param {Figure[]} all
 * @returns {string} those that have a goal or a yardstick, in Markdown
 */
function renderTable(all) {
  const rows = all
    .filter(({ goal, ratio }) => goal !== null || ratio !== null)
    .map(({ bench, figure, value, unit, yardstick, ratio, goal, pass }) => [
      ...[bench, figure, ratio === null ? '' : `**${ratio.toFixed(2)} ×**`, `${show(value)} ${unit}`],
      ...[yardstick === null ? '' : show(yardstick), goal ?? '', pass === null ? '' : pass ? 'met' : '**missed**'],
    ]);
  const heads = ['bench', 'figure', 'ratio', 'measured', 'yardstick', 'goal', ''];
  return [heads, heads.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

/**
 * @param {Figure[]} all
 * @returns {string} how much of each quota one process fills on the machine of the figures, in Markdown
 */
function renderQuotas(all) {
  const { value: rate } = getFigure(all, 'dispatch', 'recipients per second');
  const rows = QUOTAS.map((quota) => {
    const filled = Math.min(100, Math.floor((rate / quota.rate) * 100));
    const name = `${quota.regions}: ${show(quota.rate)}`;
    return `| ${name} | ${showTime(1_000_000 / quota.rate)} | ${showTime(10_000 / quota.rate)} | ${filled} % |`;
  });
  return [
    `| region (default quota, messages/s) | 1,000,000 users, one each | packed by 100 | filled by one process at ${show(rate)} messages/s |`,
    '| --- | --- | --- | --- |',
    ...rows,
  ].join('\n');
}

/**
 * @param {Figure[]} all
 * @param {string} bench
 * @param {string} figure
 * @returns {Figure}
 */
function getFigure(all, bench, figure) {
  const found = all.find((one) => one.bench === bench && one.figure === figure);
  if (found === undefined) throw new Error(`docs/performance.jsonl has no ${bench}, ${figure}`);
  return found;
}

/**
 * @param {number} seconds
 * @returns {string} in minutes when there are many
 */
function showTime(seconds) {
  if (seconds >= 300) return `${Math.round(seconds / 60)} min`;
  return `${seconds < 5 ? seconds.toFixed(1) : Math.round(seconds)} s`;
}

/**
 * @param {number} value
 * @returns {string} four digits of it
 */
function show(value) {
  return value.toLocaleString('en-US', { maximumSignificantDigits: 4 });
}

/**
 * @param {Figure[]} all
 * @returns {string} an SVG document: how a broadcast's time, its time per user and the process's memory grow with its users
 */
function renderChart(all) {
  const times = readSizes(all, 'linear', 'time per user, ');
  const panels = [
    {
      title: 'The broadcast, seconds',
      bars: times.map(({ users, value }) => ({ users, value: (users * value) / 1e6 })),
    },
    { title: 'Per user, µs', bars: times },
    { title: 'CPU time per user, µs', bars: readSizes(all, 'linear', 'CPU per user, ') },
    { title: 'Peak memory, MB', bars: readSizes(all, 'memory', 'peak, ') },
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1360 400">
  <style>
    text { font: 17px 'Liberation Sans', Arial, Helvetica, sans-serif; fill: #1e293b; text-anchor: middle; }
    .title { font-size: 20px; font-weight: bold; }
    .note { fill: #526077; }
  </style>
  <rect width="1360" height="400" fill="#ffffff" />
  ${panels.map(({ title, bars }, index) => renderPanel(title, bars, 32 + index * 332)).join('\n  ')}
  <text class="note" x="680" y="382">users of the audience, of whom seven in ten are told, one message each</text>
</svg>`;
}

/**
 * @param {Figure[]} all
 * @param {string} bench
 * @param {string} prefix of the figures, before the number of users
 * @returns {{ users: number, value: number }[]} by size
 */
function readSizes(all, bench, prefix) {
  const sizes = all
    .filter((figure) => figure.bench === bench && figure.figure.startsWith(prefix))
    .map(({ figure, value }) => ({ users: Number(figure.slice(prefix.length).replace(/\D/g, '')), value }));
  if (sizes.length === 0) throw new Error(`docs/performance.jsonl has no figure that begins with "${prefix}"`);
  return sizes;
}

/**
 * @param {string} title
 * @param {{ users: number, value: number }[]} bars
 * @param {number} left
 * @returns {string} SVG of a chart with its axis at zero, 300 units wide
 */
function renderPanel(title, bars, left) {
  const most = Math.max(...bars.map(({ value }) => value));
  const drawn = bars.map(({ users, value }, index) => {
    const [x, height] = [left + 22 + index * 90, (value / most) * 220];
    return `<rect x="${x}" y="${310 - height}" width="76" height="${height}" rx="3" fill="#2563eb" />
  <text x="${x + 38}" y="${300 - height}">${show(Number(value.toPrecision(3)))}</text>
  <text class="note" x="${x + 38}" y="334">${users.toLocaleString('en-US')}</text>`;
  });
  return `<text class="title" x="${left + 150}" y="40">${title}</text>
  ${drawn.join('\n  ')}
  <path d="M${left + 8} 310 H${left + 292}" stroke="#64748b" stroke-width="1.75" />`;
}

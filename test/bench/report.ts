import type { Figure } from './figures.ts';

const HEADS = ['bench', 'figure', 'value', 'yardstick', 'ratio', 'goal', ''];
/** Numbers are read from their right end. */
const RIGHT = new Set(['value', 'yardstick', 'ratio']);

/** The figures as a table for people. */
export function renderTable(figures: Figure[]): string {
  const rows = [HEADS, ...figures.map(describe)];
  const widths = HEADS.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const render = (row: string[]) =>
    row
      .map((cell, column) =>
        RIGHT.has(HEADS[column] ?? '') ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd();
  return rows.map(render).join('\n');
}

function describe({ bench, figure, value, unit, yardstick, ratio, goal, pass }: Figure): string[] {
  const shown = `${show(value)} ${unit}`;
  const verdict = pass === null ? '' : pass ? 'pass' : 'MISSED';
  return [
    ...[bench, figure, shown, yardstick === null ? '' : show(yardstick)],
    ...[ratio === null ? '' : `${ratio.toFixed(2)} ×`, goal ?? '', verdict],
  ];
}

const show = (value: number) => value.toLocaleString('en-US', { maximumSignificantDigits: 4 });

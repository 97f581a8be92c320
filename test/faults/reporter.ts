import type { Reporter, TestCase } from 'vitest/node';
import type { Result } from './row.ts';

const COLUMNS = ['#', 'fault', 'users', 'lost', 'unexpected', 'duplicated', 'recovered', 'resumed after', 'pass'];

/** Prints the rows as a table when all are through, or with FAULTS_JSON=1 each as an object on a line of its own. */
export default function reportFaults(): Reporter {
  const results: Result[] = [];
  const startedAt = performance.now();
  const isJson = process.env['FAULTS_JSON'] === '1';
  return {
    onTestCaseResult(test) {
      const result = test.meta().result ?? describeCrash(test);
      results.push(result);
      if (isJson) process.stdout.write(`${JSON.stringify(result)}\n`);
      const said = result.pass ? 'passed' : `MISSED: ${result.missed.join('; ')}`;
      process.stderr.write(
        `${String(result.number).padStart(2)}  ${said} (${result.seconds} s) ${JSON.stringify(result.figures)}\n`,
      );
    },
    onTestRunEnd(_modules, errors) {
      for (const error of errors) process.stderr.write(`${error.stack ?? error.message}\n`);
      if (!isJson && results.length > 0) {
        process.stdout.write(renderTable(results.toSorted((a, b) => a.number - b.number)));
        process.stdout.write(`seed ${results[0]?.seed}, ${Math.round((performance.now() - startedAt) / 1_000)} s\n`);
      }
    },
  };
}

/** A row that broke off before it could say how it went. */
function describeCrash(test: TestCase): Result {
  const { errors = [] } = test.result();
  const [, number, fault = test.name] = /^row (\d+): (.*)$/.exec(test.name) ?? [];
  return {
    ...{
      number: Number(number),
      fault,
      users: 0,
      lost: 0,
      unexpected: 0,
      duplicated: 0,
      recovered: 0,
      resume_ms: null,
    },
    ...{
      seconds: Math.round((test.diagnostic()?.duration ?? 0) / 1_000),
      pass: false,
      users_at_fault: [],
      figures: {},
    },
    ...{ missed: errors.map(({ message }) => message), seed: Number(process.env['FAULTS_SEED']) },
  };
}

function renderTable(results: Result[]): string {
  const rows = [COLUMNS, ...results.map(toCells)];
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0)));
  const lines = rows.map((cells) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  const faults = results.filter(({ pass }) => !pass).map(describeMiss);
  return ['', ...lines, '', ...faults, ''].join('\n');
}

function toCells(result: Result): string[] {
  const { number, fault, users, lost, unexpected, duplicated, recovered, resume_ms, pass } = result;
  const resumed = resume_ms === null ? '' : `${(resume_ms / 1_000).toFixed(1)} s`;
  return [...[number, fault, users, lost, unexpected, duplicated, recovered].map(String), resumed, pass ? 'yes' : 'NO'];
}

function describeMiss({ number, missed, users_at_fault, figures }: Result): string {
  const users = users_at_fault.length === 0 ? '' : `\n  the first at fault: ${users_at_fault.join(', ')}`;
  const measured = `\n  measured: ${JSON.stringify(figures)}`;
  return `Row ${number} missed:\n${missed.map((what) => `  ${what}`).join('\n')}${users}${measured}\n`;
}

import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import type { ZodType } from 'zod';
import { configSchema, localConfigSchema } from '../../src/config.ts';

/** Read by `npm run provision`, which has no other variable of its own. */
const PROVISION_VARIABLES = ['KMS_KEY_ID'];
/** Read by `npm run notify`, likewise. */
const NOTIFY_VARIABLES = ['API_KEY'];
/** The AWS SDK's own. */
const SDK_VARIABLE = /^AWS_[A-Z_]+$/;

type Variable = { name: string; value: string; commented: boolean; comment: string };

/** Every variable of our schemas with its default as text, '' when it may be left out, or null when it is required. */
function listDefaults(): Map<string, string | null> {
  const fields: [string, ZodType][] = Object.entries({ ...configSchema.shape, ...localConfigSchema.shape });
  return new Map(
    fields.map(([name, schema]) => {
      const { success, data } = schema.safeParse(undefined);
      return [name, success ? showDefault(data) : null];
    }),
  );
}

function showDefault(data: unknown): string {
  return data === undefined || Array.isArray(data) ? '' : `${data as string | number}`;
}

/** Every assignment of the example, commented out or not, with the line above it. */
async function readExample(): Promise<Variable[]> {
  const lines = (await readFile('.env.example', 'utf8')).split('\n');
  return lines.flatMap((line, index) => {
    const [, hash = '', name, value = ''] = /^(# )?([A-Z][A-Z_]*)=(.*)$/.exec(line) ?? [];
    return name === undefined ? [] : [{ name, value, commented: hash !== '', comment: lines[index - 1] ?? '' }];
  });
}

/** The rows of README's tables whose first cell is a variable: name → default, without backticks. */
async function readReadme(): Promise<Map<string, string>> {
  const readme = await readFile('README.md', 'utf8');
  const rows = readme.matchAll(/^\| *`([A-Z][A-Z_]*)` *\| *([^|]*?) *\|/gm);
  return new Map([...rows].map(([, name = '', preset = '']) => [name, preset.replaceAll('`', '')]));
}

describe('.env.example', () => {
  it('has every variable once, and no other', async () => {
    const names = (await readExample()).map(({ name }) => name).filter((name) => !SDK_VARIABLE.test(name));

    expect(names.toSorted()).toEqual(
      [...listDefaults().keys(), ...PROVISION_VARIABLES, ...NOTIFY_VARIABLES].toSorted(),
    );
  });

  it('has what is required as an empty place to fill in, and the rest as its default, commented out', async () => {
    const defaults = listDefaults();
    const ours = (await readExample()).filter(({ name }) => defaults.has(name));

    expect(ours.map(({ name, value, commented }) => [name, commented ? value : null, commented ? '' : value])).toEqual(
      ours.map(({ name }) => [name, defaults.get(name), '']),
    );
  });

  it('sets nothing when it is copied as it is', async () => {
    const set = (await readExample()).filter(({ value, commented }) => !commented && value !== '');

    expect(set).toEqual([]);
  });

  it('explains every variable in the line above it', async () => {
    const unexplained = (await readExample()).filter(({ comment }) => !/^# [A-Za-z0-9`].*[.\w]$/.test(comment));

    expect(unexplained.map(({ name }) => name)).toEqual([]);
  });
});

describe('the tables of variables in README.md', () => {
  it('have every variable, with its default', async () => {
    const rows = await readReadme();
    const shown = [...listDefaults()].map(([name]) => [name, rows.get(name)]);

    expect(shown).toEqual(
      [...listDefaults()].map(([name, preset]) => [name, preset === '' ? 'none' : (preset ?? 'required')]),
    );
  });

  it('have no variable that nobody reads', async () => {
    const known = new Set([...listDefaults().keys(), ...PROVISION_VARIABLES, ...NOTIFY_VARIABLES]);
    const unknown = [...(await readReadme()).keys()].filter((name) => !known.has(name) && !SDK_VARIABLE.test(name));

    expect(unknown).toEqual([]);
  });
});

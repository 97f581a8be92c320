/** Writes the documents that are made from the code; run by `npm run docs:generate` in the repository's folder. */

import { readFile, writeFile } from 'node:fs/promises';
import { describeMessages } from './asyncapi.ts';
import { describeLicences } from './licences.ts';
import { describeApi } from './openapi.ts';

await writeFile('docs/openapi.json', print(await describeApi()));
await writeFile('docs/asyncapi.json', print(describeMessages()));
await writeFile('docs/licences.md', describeLicences(JSON.parse(await readFile('package-lock.json', 'utf8'))));

function print(document: object): string {
  return `${JSON.stringify(document, null, 2)}\n`;
}

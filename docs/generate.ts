/** Writes the documents that are made from the code; run by `npm run docs:generate` in the repository's folder. */

import { writeFile } from 'node:fs/promises';
import { describeMessages } from './asyncapi.ts';
import { describeApi } from './openapi.ts';

await writeFile('docs/openapi.json', print(await describeApi()));
await writeFile('docs/asyncapi.json', print(describeMessages()));

function print(document: object): string {
  return `${JSON.stringify(document, null, 2)}\n`;
}

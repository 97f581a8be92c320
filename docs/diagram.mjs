/** Draws docs/architecture.svg as architecture.png: edit the SVG by hand, then run this. */

import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { drawPng } from './draw.mjs';

const SOURCE = new URL('./architecture.svg', import.meta.url);
const TARGET = new URL('../architecture.png', import.meta.url);

await drawPng(await readFile(SOURCE, 'utf8'), fileURLToPath(TARGET));

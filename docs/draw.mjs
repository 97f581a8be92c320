/** Renders drawings. */

import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';

/** Pixels per unit of the drawing: 2 keeps the text sharp on dense screens and the file well below 400 kB. */
const SCALE = 2;

const BROWSERS = [
  process.env['CHROMIUM_PATH'],
  '/usr/bin/chromium',
  '/usr/bin/google-chrome',
  '/usr/bin/google-chrome-stable',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
];

const BROWSER_ARGUMENTS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-background-networking',
  '--no-first-run',
  // The same edges on every screen: no subpixel colours, no hinting to the local display.
  '--disable-lcd-text',
  '--font-render-hinting=none',
  '--force-color-profile=srgb',
];

/**
 * Renders an SVG document, in the size of its viewBox times SCALE, into a PNG file.
 *
 * @param {string} svg the document, starting with the `svg` element
 * @param {string} path the file to write
 * @returns {Promise<void>}
 */
export async function drawPng(svg, path) {
  const browser = await chromium.launch({ executablePath: findBrowser(), args: BROWSER_ARGUMENTS });
  try {
    const page = await browser.newPage({ viewport: readSize(svg), deviceScaleFactor: SCALE });
    await page.setContent(`<!doctype html><style>body { margin: 0 } svg { display: block }</style>${svg}`);
    await page.screenshot({ path });
  } finally {
    await browser.close();
  }
}

/**
 * @returns {string} the first browser that exists
 * @throws {Error} when there is none
 */
function findBrowser() {
  const found = BROWSERS.find((path) => path && existsSync(path));
  if (!found) throw new Error('No Chromium found: install one, or name its executable in CHROMIUM_PATH');
  return found;
}

/**
 * @param {string} svg a document with a viewBox that starts at 0 0
 * @returns {{ width: number, height: number }} in units of the drawing
 * @throws {Error} without such a viewBox
 */
function readSize(svg) {
  const [, width, height] = /viewBox="0 0 (\d+) (\d+)"/.exec(svg) ?? [];
  if (!width || !height) throw new Error('The drawing needs a viewBox="0 0 <width> <height>"');
  return { width: Number(width), height: Number(height) };
}

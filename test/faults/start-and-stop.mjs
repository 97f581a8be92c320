// Starts and stops the service in this process as often as its argument says, each time in the middle of dispatch, and says
// as JSON what is left. It ends by itself when nothing is: nobody makes it.
import { configSchema, parseConfig } from '../../dist/src/config.js';
import { createLogger } from '../../dist/src/log.js';
import { start } from '../../dist/src/start.js';

/** Its own output. */
const STANDARD = new Set(['PipeWrap', 'TTYWrap']);

const rejections = [];
process.on('unhandledRejection', (error) => rejections.push(String(error)));
process.on('uncaughtException', (error) => rejections.push(String(error)));
const warnings = [];
process.on('warning', (warning) => warnings.push(String(warning)));

const config = parseConfig(configSchema, process.env);
const log = createLogger(config);

for (let count = Number(process.argv[2]); count > 0; count--) {
  const service = await start(config, log);
  const response = await fetch(`${service.url}/notifications`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', connection: 'close' },
    body: JSON.stringify({ payload: 'Your statement is ready', user_ids: [3, 4, 5] }),
  });
  console.log(JSON.stringify({ accepted: (await response.json()).id }));
  await service.stop();
}
// What a connection leaves to the next turn of the loop.
await new Promise((resolve) => setTimeout(resolve, 500));
const resources = process.getActiveResourcesInfo().filter((name) => !STANDARD.has(name));
console.log(JSON.stringify({ resources, rejections, warnings }));

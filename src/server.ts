import { existsSync } from 'node:fs';
import closeWithGrace from 'close-with-grace';
import { configSchema, parseConfig } from './config.ts';
import { createLogger, start } from './start.ts';

/** A stop takes at most this long; then the process ends without having finished, and says so. */
const STOP_TIMEOUT_MS = 10_000;

// The SDK would warn about Node 20 on every start; the versions in use are pinned and tested with it.
process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';
if (existsSync('.env')) process.loadEnvFile('.env');

try {
  const config = parseConfig(configSchema, process.env);
  const log = createLogger(config);
  const service = await start(config, log);
  log.info({ url: service.url, role: config.ROLE }, 'listening');
  closeWithGrace({ delay: STOP_TIMEOUT_MS, logger: log }, async ({ signal, err }) => {
    if (err) log.fatal({ err }, 'stopping after an error nobody handled');
    else log.info({ signal }, 'stopping');
    await service.stop();
    log.info('stopped');
  });
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

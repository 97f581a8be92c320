import { existsSync } from 'node:fs';
import { ConfigError, configSchema, parseConfig } from './config.ts';
import { createLogger } from './log.ts';
import { start } from './start.ts';
import { stopGracefully } from './stop.ts';
import { findAwsProblems } from './topology/clients.ts';

/** Whoever runs processes kills them after 10 s at the earliest (Docker's default; ECS and Kubernetes take 30 s). */
const STOP_TIMEOUT_MS = 9_500;
/** How long a load balancer may take to notice that a process is not ready any more. It is given requests meanwhile. */
const DRAIN_MS = 3_000;

// The SDK would warn about Node 20 on every start; the versions in use are pinned and tested with it.
process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';
if (existsSync('.env')) process.loadEnvFile('.env');

try {
  const config = parseConfig(configSchema, process.env, await findAwsProblems());
  const log = createLogger(config);
  const service = await start(config, log);
  log.info({ url: service.url, role: config.ROLE }, 'listening');
  if (config.AUTH === 'off') log.warn('without authentication: everyone who can connect may do everything');
  stopGracefully({
    timeoutMs: STOP_TIMEOUT_MS,
    logger: log,
    async stop({ signal, err }) {
      if (err) log.fatal({ err }, 'stopping after an error nobody handled');
      else log.info({ signal }, 'stopping');
      // No load balancer sends requests to a process that somebody runs in a terminal.
      await service.stop(signal === 'SIGTERM' ? DRAIN_MS : 0);
      log.info('stopped');
    },
  });
} catch (error) {
  console.error(error instanceof ConfigError ? error.message : error);
  process.exitCode = 1;
}

import { existsSync } from 'node:fs';
import { z } from 'zod';
import { ConfigError, isSecureUrl, parseConfig } from './config.ts';
import {
  NOTIFY_USAGE,
  type NotifyCommand,
  type NotifyInput,
  NotifyUsageError,
  parseNotifyCommand,
} from './notify/command.ts';
import { describeOutcome, describePreview } from './notify/counts-table.ts';
import { createDisplay } from './notify/display.ts';
import { NotifyError } from './notify/failures.ts';
import { askYesNo } from './notify/question.ts';
import { expectRecipients, previewNotification, sendNotification } from './notify/send.ts';
import type { Service } from './notify/service-call.ts';
import { showLine, showNumber } from './notify/terminal-text.ts';
import { watchNotification } from './notify/watch.ts';

/** What shells report for a process that Ctrl-C has ended. */
const INTERRUPTED = 130;

const environmentSchema = z.object({
  API_KEY: z
    .string()
    .regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces')
    .optional(),
});

const NOTHING_SENT = 'Nothing was sent.';

const interrupt = new AbortController();
const { signal } = interrupt;
// More than once where npm passes a Ctrl-C on that the process has had already.
process.on('SIGINT', () => interrupt.abort());
// Nobody reads any more how far it is: what is sent goes on.
process.stdout.on('error', () => process.exit(1));

process.exitCode = await main(process.argv.slice(2));

/** Runs the command line and resolves to the exit code: see the usage. */
async function main(args: string[]): Promise<number> {
  try {
    const command = parseNotifyCommand(args);
    if (command === null) {
      console.log(NOTIFY_USAGE);
      return 0;
    }
    if (existsSync('.env')) process.loadEnvFile('.env');
    const { API_KEY: key } = parseConfig(environmentSchema, process.env);
    const service = { url: command.url, key, warn: (message: string) => console.error(`notify: ${message}`) };
    if (key !== undefined && !isSecureUrl(service.url)) service.warn('over plain HTTP, API_KEY travels unencrypted');
    return command.everyone ? await notifyEveryone(service, command) : await sendAndWatch(service, command.input, null);
  } catch (error) {
    console.error(describeError(error));
    if (signal.aborted) return INTERRUPTED;
    return error instanceof NotifyUsageError ? 2 : 1;
  }
}

/** Shows what it would come to, asks, and sends what was confirmed. */
async function notifyEveryone(service: Service, { input, yes }: NotifyCommand): Promise<number> {
  const { stdin, stdout } = process;
  if (!yes && !(stdin.isTTY && stdout.isTTY)) {
    throw new NotifyUsageError('--everyone needs --yes where there is no terminal to ask on');
  }
  const preview = await previewNotification(service, input, signal);
  console.log(`Everyone is ${showNumber(preview.targeted)} users:\n\n${describePreview(preview)}\n`);
  const question = `Notify ${showNumber(preview.published)} users?`;
  if (yes || (await askYesNo(question, { input: stdin, output: stdout, signal }))) {
    return sendAndWatch(service, expectRecipients(input, preview), preview.targeted);
  }
  console.log(NOTHING_SENT);
  return signal.aborted ? INTERRUPTED : 1;
}

/** `expected` is how many users everyone was when they were counted. */
async function sendAndWatch(service: Service, input: NotifyInput, expected: number | null): Promise<number> {
  const id = await sendNotification(service, input, signal);
  console.log(`Accepted as ${id}`);
  const display = createDisplay(process.stdout, expected);
  try {
    const end = await watchNotification(service, id, display, signal).finally(display.close);
    console.log(`\nNotification ${id} ${end.status}\n\n${describeOutcome(end)}`);
    return end.status === 'completed' && end.counts.failed === 0 ? 0 : 1;
  } catch (error) {
    if (!signal.aborted) console.error(describeError(error));
    console.error(`The notification goes on. To cancel it: ${composeCancel(service, id)}`);
    return signal.aborted ? INTERRUPTED : 1;
  }
}

function composeCancel({ url, key }: Service, id: string): string {
  return `curl -X POST ${url}/notifications/${id}/cancel${key === undefined ? '' : ' -H "authorization: Bearer $API_KEY"'}`;
}

/** One message; what names several problems has a line for each. */
function describeError(error: unknown): string {
  if (error instanceof NotifyUsageError) return `${error.message}\n\n${NOTIFY_USAGE}`;
  if (error instanceof ConfigError) return error.message;
  if (error instanceof NotifyError) return `notify: ${error.message}`;
  if (signal.aborted) return NOTHING_SENT;
  return `notify: ${showLine(String(error))}`;
}

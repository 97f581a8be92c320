import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { createClients, describeAwsError, findAwsProblems } from './topology/clients.ts';
import { checkTopology, provisionTopology } from './topology/provision.ts';
import type { Step } from './topology/reconcile.ts';

const USAGE = `Usage: npm run provision [-- --check]

Creates or corrects the SNS topic and the SQS queues, and prints the topic's ARN.
  --check  only compare; exit 1 when something is missing or differs`;

process.exitCode = await main(process.argv.slice(2));

/** Runs the command line and resolves to the exit code: 0 done or in step, 1 drift or an error of AWS, 2 wrong usage. */
async function main(args: string[]): Promise<number> {
  const check = parseCheck(args);
  if (check === null) {
    console.error(USAGE);
    return 2;
  }
  if (existsSync('.env')) process.loadEnvFile();
  // The SDK warns about Node 20 when its first client is made.
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';
  try {
    return await run(check, process.env['KMS_KEY_ID'] || undefined);
  } catch (error) {
    console.error(`provision: ${describeAwsError(error)}`);
    return 1;
  }
}

/** Null means that the arguments are not understood. */
function parseCheck(args: string[]): boolean | null {
  try {
    return parseArgs({ args, options: { check: { type: 'boolean', default: false } } }).values.check;
  } catch {
    return null;
  }
}

async function run(check: boolean, kmsKeyId: string | undefined): Promise<number> {
  const problems = await findAwsProblems();
  if (problems.length > 0) throw new Error(problems.join('; '));
  const request = { ...createClients(), kmsKeyId };
  if (!check) {
    const { topicArn, steps } = await provisionTopology(request);
    printTopology(steps, topicArn);
    return 0;
  }
  const { topicArn, steps, drifted } = await checkTopology(request);
  printTopology(steps, topicArn);
  return drifted ? 1 : 0;
}

function printTopology(steps: Step[], topicArn: string | null): void {
  for (const { outcome, thing, name, attributes } of steps) {
    const detail = attributes.length > 0 ? ` (${attributes.join(', ')})` : '';
    console.log(`${outcome.padEnd(11)}${thing.padEnd(19)}${name}${detail}`);
  }
  if (topicArn !== null) console.log(`SNS_TOPIC_ARN=${topicArn}`);
}

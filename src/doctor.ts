import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { listMessageKinds } from './notifications/message.ts';
import { sendCanaries } from './topology/canary.ts';
import { createClients, describeAwsError, findAwsProblems } from './topology/clients.ts';
import { diagnoseTopology, type Finding } from './topology/diagnosis.ts';

const USAGE = `Usage: npm run doctor [-- --canary]

Compares the SNS topic, the SQS queues and their subscriptions with what the service publishes, changes nothing, and says
what is wrong and what is lost because of it; exit 1 when anything is.
  --canary  also send a message that tells nobody anything down the path of every channel, and take it out again`;

const REMEDY = 'npm run provision creates what is missing, and corrects what differs, in SNS and SQS.';

process.exitCode = await main(process.argv.slice(2));

/** Runs the command line and resolves to the exit code: 0 all is well, 1 a fault or an error of AWS, 2 wrong usage. */
async function main(args: string[]): Promise<number> {
  const canary = parseCanary(args);
  if (canary === null) {
    console.error(USAGE);
    return 2;
  }
  if (existsSync('.env')) process.loadEnvFile();
  // The SDK warns about Node 20 when its first client is made.
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';
  try {
    return await run(canary, process.env['KMS_KEY_ID'] || undefined, process.env['SNS_TOPIC_ARN'] || undefined);
  } catch (error) {
    console.error(`doctor: ${describeAwsError(error)}`);
    return 1;
  }
}

/** Null means that the arguments are not understood. */
function parseCanary(args: string[]): boolean | null {
  try {
    return parseArgs({ args, options: { canary: { type: 'boolean', default: false } } }).values.canary;
  } catch {
    return null;
  }
}

async function run(canary: boolean, kmsKeyId: string | undefined, publishesTo: string | undefined): Promise<number> {
  const problems = await findAwsProblems();
  if (problems.length > 0) throw new Error(problems.join('; '));
  const clients = createClients();
  const diagnosis = await diagnoseTopology({ ...clients, kmsKeyId, publishesTo, kinds: listMessageKinds() });
  printFindings(diagnosis.findings);
  const findings = canary ? await sendCanaries(clients, diagnosis) : [];
  printFindings(findings);
  const faults = [...diagnosis.findings, ...findings].flatMap((finding) => finding.faults);
  console.log(faults.length === 0 ? 'No fault found.' : `Faults: ${faults.length}. ${REMEDY}`);
  return faults.length === 0 ? 0 : 1;
}

function printFindings(findings: Finding[]): void {
  for (const { thing, name, faults } of findings) {
    console.log(`${(faults.length === 0 ? 'ok' : 'fault').padEnd(11)}${thing.padEnd(19)}${name}`);
    for (const { what, lost } of faults) console.log(`  ${what}\n  Lost: ${lost}`);
  }
}

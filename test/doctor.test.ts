import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SNSClient } from '@aws-sdk/client-sns';
import { DeleteQueueCommand, SQSClient } from '@aws-sdk/client-sqs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Emulator, startEmulator } from '../src/local/emulator.ts';
import { provisionTopology, type Topology } from '../src/topology/provision.ts';
import { killProcesses, startProcess } from './support/process.ts';

const CREDENTIALS = { AWS_REGION: 'us-east-1', AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local' };

describe('npm run doctor', () => {
  let emulator: Emulator;
  let topology: Topology;
  let sqs: SQSClient;
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'doctor-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  // The program knows one topology by name, so each test has an emulator of its own.
  beforeEach(async () => {
    emulator = await startEmulator(0);
    sqs = new SQSClient({ endpoint: emulator.url, useQueueUrlAsEndpoint: false });
    topology = await provisionTopology({ sns: new SNSClient({ endpoint: emulator.url }), sqs });
  });
  afterEach(async () => {
    await killProcesses();
    await emulator.stop();
  });

  /** Runs the built program in an empty folder. */
  async function run(args: string[], variables: Record<string, string> = {}) {
    const env = { ...CREDENTIALS, AWS_ENDPOINT_URL: emulator.url, ...variables };
    const { exited, output } = startProcess('doctor.js', { env, cwd: folder, args });
    const { code } = await exited;
    return { code, ...output };
  }

  it('lists what is well and exits with 0', async () => {
    const { code, stdout, stderr } = await run([], { SNS_TOPIC_ARN: topology.topicArn });

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^ok {9}topic {14}notifications$/m);
    expect(stdout).toMatch(/^ok {9}subscription {7}notifications-sms$/m);
    expect(stdout).not.toContain('canary');
    expect(stdout).toMatch(/\nNo fault found\.\n$/);
  });

  it('says what is wrong and what is lost because of it, and exits with 1', async () => {
    await sqs.send(new DeleteQueueCommand({ QueueUrl: `${topology.queueUrls.sms}-dlq` }));

    const { code, stdout, stderr } = await run([]);

    expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
    expect(stdout).toMatch(
      /^fault {6}dead-letter queue {2}notifications-sms-dlq\n {2}The dead-letter queue is missing\.\n {2}Lost: Whatever/m,
    );
    expect(stdout).toMatch(/^ok {9}queue {14}notifications-sms$/m);
    expect(stdout).toMatch(/\nFaults: 1\. .*npm run provision.*\n$/);
  });

  it('says that the service publishes to another topic', async () => {
    const { code, stdout } = await run([], { SNS_TOPIC_ARN: `${topology.topicArn}-of-somebody-else` });

    expect(code).toBe(1);
    expect(stdout).toMatch(/^ {2}SNS_TOPIC_ARN is .*-of-somebody-else, and the queues are subscribed to /m);
  });

  it('sends a canary down every path when it is asked to', async () => {
    const { code, stdout } = await run(['--canary']);

    expect(code).toBe(0);
    expect(stdout).toMatch(/^ok {9}canary {13}email\nok {9}canary {13}sms\nNo fault found\.\n$/m);
  });

  it('exits with 1 when a canary cannot be sent, and names both faults', async () => {
    await sqs.send(new DeleteQueueCommand({ QueueUrl: topology.queueUrls.email }));

    const { code, stdout } = await run(['--canary']);

    expect(code).toBe(1);
    expect(stdout).toMatch(/^fault {6}queue {14}notifications-email$/m);
    expect(stdout).toMatch(/^fault {6}canary {13}email\n {2}No canary was sent/m);
    expect(stdout).toMatch(/\nFaults: 2\. /);
  });

  it('reads the file .env when there is one', async () => {
    const file = join(folder, '.env');
    await writeFile(file, 'SNS_TOPIC_ARN=arn:aws:sns:us-east-1:000000000000:of-the-file\n');

    const { stdout } = await run([]);

    await rm(file);
    expect(stdout).toContain('SNS_TOPIC_ARN is arn:aws:sns:us-east-1:000000000000:of-the-file,');
  });

  it('explains its usage and exits with 2 on an argument it does not know', async () => {
    for (const argument of ['--canaries', 'production', '--canary=no']) {
      const { code, stdout, stderr } = await run([argument]);

      expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
      expect(stderr).toMatch(/^Usage: npm run doctor \[-- --canary\]/);
    }
  });

  it('says in one line that AWS cannot be reached, and exits with 1', async () => {
    const { code, stdout, stderr } = await run(['--canary'], { AWS_ENDPOINT_URL: 'http://127.0.0.1:1' });

    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/^doctor: .*ECONNREFUSED.*\n$/);
  });
});

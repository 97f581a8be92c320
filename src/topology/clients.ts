import { setTimeout as sleep } from 'node:timers/promises';
import { SNSClient } from '@aws-sdk/client-sns';
import { SQSClient } from '@aws-sdk/client-sqs';

/** A connection within a region takes milliseconds. */
const CONNECTION_TIMEOUT_MS = 2_000;
/** Longer than any call that creates, reads or changes a topic or a queue. */
const REQUEST_TIMEOUT_MS = 10_000;
/** Some of the SDK's sources of credentials ask the network, and wait for as long as it takes. */
const CREDENTIALS_TIMEOUT_MS = 10_000;

/** Clients that give up on a silent AWS. Region, endpoint and credentials come from the SDK's own variables and files. */
export function createClients(): { sns: SNSClient; sqs: SQSClient } {
  const requestHandler = {
    connectionTimeout: CONNECTION_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    throwOnRequestTimeout: true,
  };
  return {
    sns: new SNSClient({ requestHandler }),
    // A queue's URL is its name here, not its address: behind AWS_ENDPOINT_URL its host need not resolve.
    sqs: new SQSClient({ requestHandler, useQueueUrlAsEndpoint: false }),
  };
}

/** What the AWS SDK misses to make a call: a region, credentials. Its own variables and files are where it looks. */
export async function findAwsProblems(): Promise<string[]> {
  const { config } = new SNSClient({});
  const problems: string[] = [];
  await config.region().catch(() => problems.push('AWS_REGION is required'));
  const late = sleep(CREDENTIALS_TIMEOUT_MS, null, { ref: false });
  const found = await Promise.race([config.credentials(), late]).catch(() => undefined);
  if (found === undefined) problems.push("AWS credentials are required: none of the SDK's sources has any");
  if (found === null) problems.push("AWS credentials are required: the SDK's sources did not answer within 10 s");
  return problems;
}

/** One line. An endpoint that refuses every address it resolves to comes as an error with a code and no message. */
export function describeAwsError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = 'code' in error ? String(error.code) : '';
  return `${error.name}: ${error.message || code}`.replace(/\s+/g, ' ');
}

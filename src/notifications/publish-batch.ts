import type { Readable } from 'node:stream';
import {
  PublishBatch$,
  PublishBatchCommand,
  type PublishBatchCommandOutput,
  type SNSClient,
} from '@aws-sdk/client-sns';
import { getEndpointFromInstructions } from '@smithy/core/endpoints';
import { HttpRequest, HttpResponse } from '@smithy/core/protocols';
import { operation } from '@smithy/core/schema';
import type { Message } from './message.ts';

/** What SNS says of each message of a batch. `Id` is its place in the batch, from 0 on. */
export type BatchReply = Pick<PublishBatchCommandOutput, 'Successful' | 'Failed'>;

/**
 * Publishes at most ten messages by one call. Rejects with what `SNSClient.send` would reject with: SNSServiceException, or
 * what sockets and timeouts say. Does not retry.
 */
export type PublishBatch = (messages: Message[], signal: AbortSignal) => Promise<BatchReply>;

/** The operation and the one version of the API of SNS, in the AWS query protocol. */
const ACTION = 'Action=PublishBatch&Version=2010-03-31';
const CONTENT_TYPE = 'application/x-www-form-urlencoded';
const USER_AGENT = 'notification-service';

/**
 * Does what `sns.send(new PublishBatchCommand(…))` does for less than half of its CPU time, most of which goes into schemas
 * and middleware: only the request's form and a reply of plain success are written and read here. Endpoint, credentials,
 * signature, clock skew, connections, timeouts, and every other reply are the client's own.
 */
export function createPublishBatch(sns: SNSClient, topicArn: string): PublishBatch {
  const head = `${ACTION}&TopicArn=${encode(topicArn)}`;
  let connecting: Promise<Connection> | undefined;
  return async (messages, signal) => {
    connecting ??= connect(sns);
    // What keeps an endpoint from being found may pass.
    const { host, target, sign } = await connecting.catch((error: unknown) => {
      connecting = undefined;
      throw error;
    });
    // Encoded once, for the signature and the socket.
    const body = Buffer.from(head + encodeEntries(messages), 'latin1');
    const length = String(body.length);
    const headers = { host, 'content-type': CONTENT_TYPE, 'content-length': length, 'user-agent': USER_AGENT };
    const request = await sign(new HttpRequest({ ...target, method: 'POST', headers, body }));
    const { response } = await sns.config.requestHandler.handle(request, { abortSignal: signal });
    return readReply(sns, response, messages.length);
  };
}

type Connection = {
  host: string;
  target: Pick<HttpRequest, 'protocol' | 'hostname' | 'path'> & { port?: number };
  sign: (request: HttpRequest) => Promise<HttpRequest>;
};

/** Where SNS is, and how a call is signed for it, as the client has it from its configuration and AWS's variables. */
async function connect({ config }: SNSClient): Promise<Connection> {
  const { url, properties } = await getEndpointFromInstructions({}, PublishBatchCommand, config);
  const signer = await config.signer(properties?.authSchemes?.[0]);
  return {
    host: url.host,
    target: {
      ...{ protocol: url.protocol, hostname: url.hostname, path: url.pathname.replace(/\/?$/, '/') },
      ...(url.port !== '' && { port: Number(url.port) }),
    },
    sign: (request) =>
      // By the clock of SNS, as far as its replies have told.
      signer.sign(request, { signingDate: new Date(Date.now() + config.systemClockOffset) }) as Promise<HttpRequest>,
  };
}

function encodeEntries(messages: Message[]): string {
  let form = '';
  for (const [index, { body, group_id, attributes }] of messages.entries()) {
    const entry = `&PublishBatchRequestEntries.member.${index + 1}.`;
    form += `${entry}Id=${index}${entry}Message=${encode(body)}${entry}MessageGroupId=${encode(group_id)}`;
    let number = 0;
    for (const [name, value] of Object.entries(attributes)) {
      number += 1;
      const attribute = `${entry}MessageAttributes.entry.${number}.`;
      form += `${attribute}Name=${encode(name)}${attribute}Value.DataType=String${attribute}Value.StringValue=${encode(value)}`;
    }
  }
  return form;
}

const encode = encodeURIComponent;

/** A member of a reply that is an entry taken, and nothing else. SNS gives its two fields in either order. */
const TAKEN =
  /<member>(?:<Id>(\d+)<\/Id><MessageId>([\w-]+)<\/MessageId>|<MessageId>([\w-]+)<\/MessageId><Id>(\d+)<\/Id>)<\/member>/g;

/** Reads a reply by which every entry was taken; hands all others to the client, as if it had received them. */
async function readReply(sns: SNSClient, response: HttpResponse, entries: number): Promise<BatchReply> {
  const bytes = await collect(response.body);
  if (response.statusCode === 200) {
    const text = bytes.toString();
    const taken = Array.from(text.matchAll(TAKEN), ([, id, messageId, otherMessageId, otherId]) => ({
      Id: id ?? otherId,
      MessageId: messageId ?? otherMessageId,
    }));
    if (taken.length === entries) return { Successful: taken, Failed: [] };
  }
  const { statusCode, headers } = response;
  return readWithClient(sns, new HttpResponse({ statusCode, headers, body: bytes }));
}

async function readWithClient({ config }: SNSClient, response: HttpResponse): Promise<BatchReply> {
  const [, namespace, name, traits, input, output] = PublishBatch$;
  const protocol: Protocol = config.protocol as Protocol;
  try {
    const schema = operation(namespace, name, traits, input, output);
    const { Successful, Failed } = await protocol.deserializeResponse(schema, config, response);
    return { Successful, Failed };
  } catch (error) {
    const known = Object.defineProperty(error as Error, '$response', { value: response });
    // By a refusal the signer learns how wrong this machine's clock is, and passes it on.
    const scheme = config.httpAuthSchemes.find(({ schemeId }) => schemeId === SIGNATURE_SCHEME);
    scheme?.signer.errorHandler?.({ config })(known);
    throw known;
  }
}

const SIGNATURE_SCHEME = 'aws.auth#sigv4';

/** What the client's protocol does with a reply, in the types of this one operation. */
type Protocol = {
  deserializeResponse: (schema: unknown, context: unknown, response: HttpResponse) => Promise<BatchReply>;
};

/** A reply is small: nothing of it is worth a stream. Rejects when the connection breaks in the middle. */
function collect(body: Readable): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    body.on('data', (chunk: Buffer) => chunks.push(chunk));
    body.once('end', () => resolve(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks)));
    body.once('error', reject);
  });
}

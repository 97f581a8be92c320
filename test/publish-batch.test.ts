import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text as readText } from 'node:stream/consumers';
import { PublishBatchCommand, SNSClient } from '@aws-sdk/client-sns';
import { array, constant, constantFrom, dictionary, nat, oneof, record, sample, string } from 'fast-check';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { Message } from '../src/notifications/message.ts';
import { createPublishBatch } from '../src/notifications/publish-batch.ts';
import { range, TOPIC_ARN, UNSTOPPED } from './support/dispatch.ts';

const BATCHES = 1_000;
const TIMEOUT_MS = 300;

type Received = { form: [string, string][]; headers: Record<string, unknown> };

/** What both senders are answered, and what came in. */
let received: Received[];
let answer: (response: ServerResponse) => void;
let url: string;

beforeEach(async () => {
  received = [];
  const receive = async (request: IncomingMessage, response: ServerResponse) => {
    const body = await readText(request);
    received.push({ form: [...new URLSearchParams(body)], headers: { ...request.headers, ':path': request.url } });
    answer(response);
  };
  const server = createServer((request, response) => void receive(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

function connect(overrides: object = {}): SNSClient {
  const timeouts = { requestTimeout: TIMEOUT_MS, socketTimeout: TIMEOUT_MS, throwOnRequestTimeout: true };
  const sns = new SNSClient({ endpoint: url, maxAttempts: 1, requestHandler: timeouts, ...overrides });
  onTestFinished(() => sns.destroy());
  return sns;
}

/** The same batch by the client itself. */
const sendByClient = (sns: SNSClient, messages: Message[]) =>
  sns.send(
    new PublishBatchCommand({
      TopicArn: TOPIC_ARN,
      PublishBatchRequestEntries: messages.map(({ body, group_id, attributes }, index) => ({
        Id: String(index),
        Message: body,
        MessageGroupId: group_id,
        MessageAttributes: Object.fromEntries(
          Object.entries(attributes).map(([name, StringValue]) => [name, { DataType: 'String', StringValue }]),
        ),
      })),
    }),
  );

const compose = (parts: Partial<Message>): Message => ({
  ...{ body: '{}', attributes: { email: '1' }, group_id: 'key:billing', bytes: 300, channel_bits: 1, user_ids: [1] },
  ...parts,
});

const NAMESPACE = 'xmlns="http://sns.amazonaws.com/doc/2010-03-31/"';
const taken = (id: number) =>
  `<member><Id>${id}</Id><MessageId>0190f8f0-0000-7000-8000-00000000000${id}</MessageId></member>`;
const failed = (id: number, code = 'InternalFailure') =>
  `<member><Id>${id}</Id><Code>${code}</Code><Message>a &lt;b&gt; &amp;#13; &#233;</Message><SenderFault>false</SenderFault></member>`;

const result = (successful: string, failures = '') =>
  `<PublishBatchResponse ${NAMESPACE}><PublishBatchResult><Failed>${failures}</Failed><Successful>${successful}</Successful>` +
  '</PublishBatchResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></PublishBatchResponse>';

const error = (code: string, message = 'the reason') =>
  `<ErrorResponse ${NAMESPACE}><Error><Type>Sender</Type><Code>${code}</Code><Message>${message}</Message></Error>` +
  '<RequestId>r</RequestId></ErrorResponse>';

const reply =
  (status: number, body: string, headers: Record<string, string> = {}) =>
  (response: ServerResponse) =>
    void response.writeHead(status, { 'content-type': 'text/xml', ...headers }).end(body);

/** What a caller can see of a failure. */
const describeError = (thrown: unknown) => {
  const { name, message, $fault, $metadata, Type, Code, code } = thrown as Record<string, unknown> & Error;
  const { httpStatusCode, requestId } = ($metadata ?? {}) as Record<string, unknown>;
  return {
    name,
    message,
    $fault,
    Type,
    Code,
    code,
    httpStatusCode,
    requestId,
    prototype: Object.getPrototypeOf(thrown),
  };
};

const settle = <Value>(promise: Promise<Value>) =>
  promise.then(
    (value) => ({ value }),
    (thrown: unknown) => ({ thrown: describeError(thrown) }),
  );

describe('a batch', () => {
  it('arrives as the client would send it, whatever is in it', async () => {
    const publish = createPublishBatch(connect(), TOPIC_ARN);
    const byClient = connect();
    const nasty = constantFrom(...Array.from('\0\t\n\r "%&+,/:;<=>?@[]{}~!\'()*-_.é€𝄞\u2028\ufffe\uffff\u{10ffff}'));
    const text = string({
      unit: oneof(nasty, constant('a'), nat({ max: 0xd7ff }).map(String.fromCharCode)),
    });
    const message = record({ body: text, group_id: text, attributes: dictionary(text, text, { maxKeys: 3 }) }).map(
      compose,
    );
    const batches = sample(array(message, { minLength: 10, maxLength: 10 }), BATCHES);

    for (const batch of batches) {
      answer = reply(200, result(range(0, 9).map(taken).join('')));
      const [ours, theirs] = [await publish(batch, UNSTOPPED), await sendByClient(byClient, batch)];
      const [own, other] = received.splice(0);
      expect(own?.form.toSorted()).toEqual(other?.form.toSorted());
      expect(ours).toEqual({ Successful: theirs.Successful, Failed: theirs.Failed });
    }
    expect(batches.flat()).toHaveLength(10 * BATCHES);
  }, 120_000);

  it('is signed and addressed as the client would do it', async () => {
    const credentials = { accessKeyId: 'id', secretAccessKey: 'secret', sessionToken: 'token' };
    const options = { endpoint: `${url}/prefix`, region: 'eu-west-1', credentials };
    answer = reply(200, result(taken(0)));

    await createPublishBatch(connect(options), TOPIC_ARN)([compose({})], UNSTOPPED);
    await sendByClient(connect(options), [compose({})]);

    const [own, other] = received.map(({ headers }) => headers);
    for (const name of ['host', 'content-type', 'x-amz-security-token', ':path'])
      expect(own?.[name]).toBe(other?.[name]);
    expect(own?.['authorization']).toMatch(/^AWS4-HMAC-SHA256 Credential=id\/\d{8}\/eu-west-1\/sns\/aws4_request, /);
    expect(own?.['x-amz-content-sha256']).toMatch(/^[0-9a-f]{64}$/);
  });

  it('is signed by credentials as they are at that moment', async () => {
    let number = 0;
    const credentials = async () => ({
      ...{ accessKeyId: `id${++number}`, secretAccessKey: 'secret' },
      expiration: new Date(Date.now() + 1_000),
    });
    const publish = createPublishBatch(connect({ credentials }), TOPIC_ARN);
    answer = reply(200, result(taken(0)));

    await publish([compose({})], UNSTOPPED);
    await publish([compose({})], UNSTOPPED);

    const used = received.map(({ headers }) => /Credential=(\w+)/.exec(String(headers['authorization']))?.[1]);
    expect(new Set(used).size).toBe(2);
  });

  it('is signed by the clock of SNS once SNS has refused ours', async () => {
    const publish = createPublishBatch(connect(), TOPIC_ARN);
    const theirs = new Date(Date.now() + 3_600_000);
    answer = reply(403, error('RequestExpired'), { date: theirs.toUTCString() });
    await expect(publish([compose({})], UNSTOPPED)).rejects.toThrow('the reason');
    answer = reply(200, result(taken(0)));

    await publish([compose({})], UNSTOPPED);

    const [before, after] = received.map(({ headers }) => toTime(String(headers['x-amz-date'])));
    expect(Math.abs((after ?? 0) - theirs.getTime())).toBeLessThan(60_000);
    expect((after ?? 0) - (before ?? 0)).toBeGreaterThan(3_000_000);
  });

  it('ends when it is aborted', async () => {
    const stopping = new AbortController();
    answer = () => stopping.abort();

    await expect(createPublishBatch(connect(), TOPIC_ARN)([compose({})], stopping.signal)).rejects.toMatchObject({
      name: 'AbortError',
    });
  });
});

/** 20260105T083000Z */
const toTime = (amzDate: string) =>
  Date.parse(amzDate.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));

describe('a reply', () => {
  const batch = range(0, 2).map((user) => compose({ body: String(user) }));
  const all = range(0, 2).map(taken).join('');
  const swapped = '<member><MessageId>m-0</MessageId><Id>0</Id></member>';

  it.each<[string, (response: ServerResponse) => void]>([
    ['of success', reply(200, result(all))],
    ['of success, its fields in another order', reply(200, result(swapped + taken(1) + taken(2)))],
    [
      'of success, with white space and a field of a later version',
      reply(200, result(all.replaceAll('<Id>', '\n <New>1</New> <Id>'))),
    ],
    ['of success without an entry', reply(200, result(taken(0) + taken(2)))],
    ['of success in part', reply(200, result(taken(0) + taken(2), failed(1)))],
    [
      'of failure of all entries',
      reply(
        200,
        result(
          '',
          range(0, 2)
            .map((id) => failed(id, 'Throttled'))
            .join(''),
        ),
      ),
    ],
    ['of nothing', reply(200, result(''))],
    ['without a body', reply(200, '')],
    ...['InvalidParameter', 'InvalidParameterValue', 'BatchRequestTooLong', 'AuthorizationError', 'SomethingNew'].map(
      (code): [string, (response: ServerResponse) => void] => [`that says ${code}`, reply(400, error(code))],
    ),
    ['of throttling', reply(400, error('Throttling', 'Rate exceeded'))],
    ['of a wrong signature', reply(403, error('SignatureDoesNotMatch'))],
    ['of a missing topic', reply(404, error('NotFound', 'Topic does not exist'))],
    ['of a missing path without a body', reply(404, '')],
    ['of a fault of SNS', reply(500, error('InternalError'))],
    ['of a fault without a body', reply(503, '')],
    ['of a fault in HTML', reply(502, '<html><body><h1>Bad Gateway</h1></body></html>')],
    ['with entities in it', reply(400, error('InvalidParameter', 'a &lt;b&gt; &amp; &#233;'))],
    ['with a request id', reply(500, error('InternalError'), { 'x-amzn-requestid': 'the-id' })],
    ['that breaks off in its head', (response) => void response.destroy()],
    ['that never comes', () => undefined],
  ])('%s is what the client makes of it', async (_name, plan) => {
    answer = plan;

    const [ours, theirs] = await Promise.all([
      settle(createPublishBatch(connect(), TOPIC_ARN)(batch, UNSTOPPED)),
      settle(sendByClient(connect(), batch).then(({ Successful, Failed }) => ({ Successful, Failed }))),
    ]);

    expect(ours).toEqual(theirs);
  });

  it.each<[string, (response: ServerResponse) => void]>([
    [
      'breaks off in its body',
      (response) => void response.writeHead(200, { 'content-length': 999 }).write('<Pub', () => response.destroy()),
    ],
    ['falls silent in its body', (response) => void response.writeHead(200, { 'content-length': 999 }).write('<Pub')],
    ['is no XML', reply(200, '{"not": "xml"')],
  ])('that %s is a failure', async (_name, plan) => {
    answer = plan;

    await expect(createPublishBatch(connect(), TOPIC_ARN)(batch, UNSTOPPED)).rejects.toThrow(
      /aborted|Unexpected|XML|parse|Char|timed out/i,
    );
  });
});

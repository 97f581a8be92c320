import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

/** What IAM calls differently than the SDK: a batch is allowed by the action for one. */
const ACTION_OF: Record<string, string> = {
  ...{ PublishBatch: 'Publish', DeleteMessageBatch: 'DeleteMessage' },
  ChangeMessageVisibilityBatch: 'ChangeMessageVisibility',
};

/** What the SDK exports that calls nothing by itself. */
const CALLS_NOTHING = /^(SNSClient|SQSClient|QueueDoesNotExist|SNSServiceException|PublishBatch\$)$/;

/** Who needs a policy, and the sources that make the calls. */
const CALLERS = {
  service: /^src\/(start\.ts|notifications\/)/,
  provisioning: /^src\/topology\/(?!canary\.ts$)/,
  doctor: /^src\/topology\/canary\.ts$/,
  sender: /^src\/local\/senders\.ts$/,
} as const;

/** What the doctor has in common with provisioning: it looks, and changes nothing. */
const LOOKS = /^\w+:(Get|List)/;

/** What lists topics, or names a subscription and not its topic, can only be allowed for every resource. */
const HAS_NO_TOPIC = /^sns:(ListTopics|[GS]etSubscriptionAttributes)$/;

type Policy = { Version: string; Statement: { Effect: string; Action: string[]; Resource: string }[] };

/**
 * The IAM actions that a source needs, judged by the commands and paginators it imports of the AWS SDK.
 *
 * @throws Error for an import of the SDK that it cannot judge
 */
function collectActions(text: string): string[] {
  if (/[^}\s]\s+from\s*['"]@aws-sdk|(?:import|require)\s*\(\s*['"`]@aws-sdk/.test(text)) {
    throw new Error('The SDK is imported as a whole.');
  }
  const imports = text.matchAll(/\bimport\s+(type\s+)?\{([^}]*)\}\s*from\s*['"]@aws-sdk\/([\w-]+)['"]/g);
  return [...imports].flatMap(([, isType, names = '', module = '']) => {
    if (isType !== undefined) return [];
    const values = names.split(',').map((name) => name.trim().replace(/\s+as\s+\w+$/, ''));
    return values.filter((name) => name !== '' && !/^type\s/.test(name)).flatMap((name) => nameAction(module, name));
  });
}

function nameAction(module: string, name: string): string[] {
  const [, service] = /^client-(sns|sqs)$/.exec(module) ?? [];
  const [, command, paginated] = /^(?:([A-Z]\w+)Command|paginate([A-Z]\w+))$/.exec(name) ?? [];
  const call = command ?? paginated;
  if (service === undefined || (call === undefined && !CALLS_NOTHING.test(name))) {
    throw new Error(`It is not known what ${name} of ${module} calls.`);
  }
  return call === undefined ? [] : [`${service}:${ACTION_OF[call] ?? call}`];
}

/** The actions that the sources of a caller need, each once, in alphabetical order. */
async function findNeeded(paths: string[], files: RegExp): Promise<string[]> {
  const texts = await Promise.all(paths.filter((path) => files.test(path)).map((path) => readFile(path, 'utf8')));
  return [...new Set(texts.flatMap(collectActions))].toSorted();
}

/** Likewise, of a caller. */
async function findNeededBy(caller: keyof typeof CALLERS): Promise<string[]> {
  const sources = await listSources();
  const needed = await findNeeded(sources, CALLERS[caller]);
  if (caller !== 'doctor') return needed;
  const looks = (await findNeeded(sources, CALLERS.provisioning)).filter((action) => LOOKS.test(action));
  return [...new Set([...needed, ...looks])].toSorted();
}

async function listSources(): Promise<string[]> {
  const entries = await readdir('src', { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name).replaceAll('\\', '/'));
}

/** The policies of a document, each with the line right above it. */
async function readPolicies(path: string): Promise<{ title: string; policy: Policy }[]> {
  const text = await readFile(path, 'utf8');
  const blocks = text.matchAll(/^(\S[^\n]*)\n```json\n(\{ "Version": .*?)^```/gms);
  return [...blocks].map(([, title = '', json = '']) => ({ title, policy: JSON.parse(json) }));
}

async function readPolicy(caller: keyof typeof CALLERS): Promise<Policy> {
  const titles = {
    ...{ service: /^The service/, provisioning: /^Provisioning/ },
    ...{ doctor: /^The topology doctor/, sender: /^A sender/ },
  };
  const found = (await readPolicies('docs/operations.md')).filter(({ title }) => titles[caller].test(title));
  const [only] = found;
  if (only === undefined || found.length > 1) throw new Error(`docs/operations.md has ${found.length} for ${caller}`);
  return only.policy;
}

const listActions = ({ Statement }: Policy) => Statement.flatMap(({ Action }) => Action);

describe('the policy in docs/operations.md', () => {
  const callers = ['service', 'provisioning', 'doctor', 'sender'] as const;

  it.each(callers)('of the %s allows what it calls, and no more', async (caller) => {
    const needed = await findNeededBy(caller);

    const actions = listActions(await readPolicy(caller));

    expect(needed.length).toBeGreaterThan(1);
    expect(actions.toSorted()).toEqual(needed);
  });

  it.each(callers)('of the %s is as narrow as can be', async (caller) => {
    const { Statement } = await readPolicy(caller);

    const wide = Statement.filter(({ Effect, Action, Resource }) => {
      const [service = ''] = Action[0]?.split(':') ?? [];
      const isOurs = Resource.startsWith(`arn:aws:${service}:REGION:ACCOUNT:notifications`);
      const isOneService = Action.every((action) => action.startsWith(`${service}:`));
      return Effect !== 'Allow' || !isOneService || !(isOurs || Action.every((action) => HAS_NO_TOPIC.test(action)));
    });
    expect(wide).toEqual([]);
  });

  it('leaves no source that calls AWS without one', async () => {
    const others = (await listSources()).filter((path) => !Object.values(CALLERS).some((files) => files.test(path)));

    expect(await findNeeded(others, /./)).toEqual([]);
  });
});

describe('the policy in README.md', () => {
  it('is the one of the service', async () => {
    const policies = (await readPolicies('README.md')).map(({ policy }) => policy);

    expect(policies).toEqual([await readPolicy('service')]);
  });
});

describe('collecting actions', () => {
  it('finds commands and paginators, and leaves types out', () => {
    const actions = collectActions(`
      import {
        CreateTopicCommand, paginateListTopics as listTopics,
        type PublishCommand, SNSClient,
      } from '@aws-sdk/client-sns';
      import type { ReceiveMessageCommand } from '@aws-sdk/client-sqs';
      import { pause } from './pause.ts';`);

    expect(actions).toEqual(['sns:CreateTopic', 'sns:ListTopics']);
  });

  it.each([
    ["import { PublishBatchCommand } from '@aws-sdk/client-sns';", ['sns:Publish']],
    ["import { ChangeMessageVisibilityBatchCommand } from '@aws-sdk/client-sqs';", ['sqs:ChangeMessageVisibility']],
    ['import { DeleteMessageBatchCommand } from "@aws-sdk/client-sqs";', ['sqs:DeleteMessage']],
    ["import { GetQueueUrlCommand } from '@aws-sdk/client-sqs';", ['sqs:GetQueueUrl']],
    ["import { readFile } from 'node:fs/promises';", []],
  ])('names the action of %s', (text, actions) => {
    expect(collectActions(text)).toEqual(actions);
  });

  it.each([
    "import * as sns from '@aws-sdk/client-sns';",
    "import sns from '@aws-sdk/client-sns';",
    "const { SNSClient } = await import('@aws-sdk/client-sns');",
    "import { SNS } from '@aws-sdk/client-sns';",
    "import { GetCallerIdentityCommand } from '@aws-sdk/client-sts';",
  ])('refuses what it cannot judge: %s', (text) => {
    expect(() => collectActions(text)).toThrow(/SDK is imported as a whole|not known what/);
  });
});

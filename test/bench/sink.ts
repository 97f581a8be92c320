import { type Child, startChild } from './child.ts';
import type { SinkHandlers } from './sink-process.ts';

/** SNS in a process of its own. */
export type Sink = Child<SinkHandlers> & { url: string };

/** Entries of one PublishBatch, as the AWS SDK takes them. */
export type Batch = {
  Id: string;
  Message: string;
  MessageGroupId?: string;
  MessageAttributes: Record<string, { DataType: 'String'; StringValue: string }>;
}[];

/** What a sink does unless it is told otherwise: takes everything, at once. */
export const UNLIMITED = Number.POSITIVE_INFINITY;

export async function startSink(): Promise<Sink> {
  const child = startChild<SinkHandlers>('sink-process.js');
  return { ...child, url: await child.call('listen') };
}

/** The batches that have come in first since the sink was reset. */
export async function readBatches(sink: Sink): Promise<Batch[]> {
  const forms = await sink.call('readSamples');
  return forms.map((form) => readBatch(new URLSearchParams(form)));
}

function readBatch(form: URLSearchParams): Batch {
  const batch: Batch = [];
  for (let index = 1; form.has(`PublishBatchRequestEntries.member.${index}.Id`); index++) {
    const read = (field: string) => form.get(`PublishBatchRequestEntries.member.${index}.${field}`);
    const group = read('MessageGroupId');
    const attributes: Batch[number]['MessageAttributes'] = {};
    for (let entry = 1; read(`MessageAttributes.entry.${entry}.Name`) !== null; entry++) {
      const value = read(`MessageAttributes.entry.${entry}.Value.StringValue`) ?? '';
      attributes[read(`MessageAttributes.entry.${entry}.Name`) ?? ''] = { DataType: 'String', StringValue: value };
    }
    batch.push({
      ...{ Id: read('Id') ?? '', Message: read('Message') ?? '', MessageAttributes: attributes },
      ...(group !== null && { MessageGroupId: group }),
    });
  }
  return batch;
}

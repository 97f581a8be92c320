/** Preloaded into a process that is measured, the service mostly: says what it uses, over the IPC channel. */

import { answerCalls } from './child.ts';
import { createMeter } from './meter.ts';

const meter = createMeter();
const handlers = { reset: meter.reset, read: meter.read };
export type ProbeHandlers = typeof handlers;

answerCalls(handlers);

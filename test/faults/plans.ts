import { setTimeout as sleep } from 'node:timers/promises';
import type { Incoming, Plan } from './oracle.ts';
import type { Rig } from './rig.ts';

/** Has SNS accept everything, and say so after a time. */
export function slowDown(rig: Rig, ms: number, more: (call: Incoming) => Plan = () => ({})): void {
  rig.oracle.plan((call) => ({ replyAfter: wait(rig, ms), ...more(call) }));
}

/** Ends early, and quietly, with the row. */
export const wait = ({ signal }: Rig, ms: number) => sleep(ms, undefined, { signal }).catch(() => undefined);

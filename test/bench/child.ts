import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

/** What a process of a benchmark does when it is asked to, by name. */
export type Handlers = Record<string, (...args: never[]) => unknown>;

export type Child<H extends Handlers> = {
  /** Has the process do something. Rejects with what it throws there, and when the process has ended. */
  call: <Name extends keyof H & string>(
    name: Name,
    ...args: Parameters<H[Name]>
  ) => Promise<Awaited<ReturnType<H[Name]>>>;
  /** Ends it at once, whatever it is doing. */
  end: () => Promise<void>;
};

type Call = { id: number; name: string; args: unknown[] };
type Answer = { id: number; result: unknown } | { id: number; error: string };

type Start = { env?: Record<string, string>; cwd?: string; preload?: string };

const running = new Set<ChildProcess>();

/**
 * Starts a built program, named from the folder of the benchmarks, in a process of its own, with no variables but those
 * given. It, or what is preloaded into it, calls `answerCalls`.
 */
export function startChild<H extends Handlers>(program: string, { env = {}, cwd, preload }: Start = {}): Child<H> {
  const child = fork(join(import.meta.dirname, program), [], {
    ...(cwd !== undefined && { cwd }),
    env: { PATH: process.env['PATH'], AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true', ...env },
    // What this process was started with, `--cpu-prof` say, holds for it as well.
    execArgv: [...process.execArgv, ...(preload === undefined ? [] : ['--import', join(import.meta.dirname, preload)])],
    serialization: 'advanced',
  });
  running.add(child);
  const waiting = new Map<number, { resolve: (result: unknown) => void; reject: (error: Error) => void }>();
  child.on('message', (reply: Answer) => {
    const call = waiting.get(reply.id);
    waiting.delete(reply.id);
    if ('error' in reply) call?.reject(new Error(`${program}: ${reply.error}`));
    else call?.resolve(reply.result);
  });
  const exited = once(child, 'exit').then(() => {
    running.delete(child);
    for (const { reject } of waiting.values()) reject(new Error(`${program} has ended.`));
  });
  let calls = 0;
  return {
    call: (name, ...args) =>
      new Promise<unknown>((resolve, reject) => {
        const call: Call = { id: ++calls, name, args };
        waiting.set(call.id, { resolve, reject });
        if (child.connected) child.send(call);
        else reject(new Error(`${program} has ended.`));
      }) as never,
    async end() {
      if (child.connected) child.disconnect();
      await exited;
    },
  };
}

/** Kills what is left of a benchmark that went wrong. */
export async function killChildren(): Promise<void> {
  const children = [...running];
  for (const child of children) child.kill('SIGKILL');
  for (const child of children) if ((child.exitCode ?? child.signalCode) === null) await once(child, 'exit');
}

/** In the child: does what the process that started it asks for, and ends with it. */
export function answerCalls(handlers: Handlers): void {
  process.on('message', (call: Call) => void answer(handlers, call));
  process.once('disconnect', () => process.exit());
}

async function answer(handlers: Handlers, { id, name, args }: Call): Promise<void> {
  try {
    const handler = handlers[name] as ((...given: unknown[]) => unknown) | undefined;
    if (handler === undefined) throw new Error(`Nothing is done under the name ${name}.`);
    process.send?.({ id, result: await handler(...args) } satisfies Answer);
  } catch (error) {
    process.send?.({ id, error: String((error as Error).stack ?? error) } satisfies Answer);
  }
}

import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { NotifyUsageError, parseNotifyCommand } from '../src/notify/command.ts';
import { createDisplay } from '../src/notify/display.ts';
import { drawProgress } from '../src/notify/progress-line.ts';
import type { Progress } from '../src/notify/replies.ts';
import { runNotify } from './support/notify.ts';

const CLEAR_LINE = '\r\u001B[2K';
const SUPPRESSED = { unknown_user: 0, no_preferences: 0, opted_out: 0, no_contact: 0, canceled: 0, expired: 0 };

/** A broadcast of about a million, of whom 420,000 are done with. */
function createProgress(overrides: Partial<Progress> = {}): Progress {
  return {
    ...{ id: '01932f3c-7a1e-7c1f-9d6b-3f1f6f0e2a55', status: 'dispatching' },
    audience: { type: 'everyone', count: null },
    ...{ progress: 0.42, rate: 9_050.4, eta: new Date(), started_at: new Date(), completed_at: null },
    counts: {
      ...{ targeted: 421_000, published: 420_000, failed: 0, pending: 1_000, messages: 420_000 },
      ...{ suppressed: SUPPRESSED, by_channel: { email: 420_000, sms: 0 } },
    },
    ...overrides,
  };
}

/** What stdout is, and everything written so far. */
function createScreen(isTTY: boolean, columns: number) {
  let text = '';
  const write = (more: string) => {
    text += more;
  };
  const screen = Object.assign(new EventEmitter(), { isTTY, columns, write });
  return { screen, read: () => text };
}

describe('the progress on a terminal', () => {
  it('is one line with a bar, percent, users, status, rate and time left', () => {
    expect(drawProgress(createProgress(), 1_000_000, 100)).toBe(
      ' 42 % [============                 ] 420,000/~1,000,000 users  dispatching  9,050/s  1 min 5 s left',
    );
    expect(drawProgress(createProgress(), 1_000_000, 79)).toMatch(/^ 42 % \[=+ +\] .+ left$/);
  });

  it('knows the total of users named, and of everyone once they are exhausted', () => {
    const audience = { type: 'users', count: 421_000 } as const;

    expect(drawProgress(createProgress({ audience }), null, 100)).toContain(' 420,000/421,000 users ');
    expect(drawProgress(createProgress(), null, 100)).toContain(' 420,000 users ');
  });

  it('has no time left while nothing moves, and is 100 % only when it is', () => {
    const line = drawProgress(createProgress({ progress: 0.9999, rate: 0, eta: null }), 1_000_000, 100);

    expect(line).toMatch(/^ 99 % .+ {2}dispatching {2}0\/s$/);
  });

  it('fits every width', () => {
    const widths = Array.from({ length: 150 }, (_, width) => width);

    expect(widths.filter((width) => drawProgress(createProgress(), 1_000_000, width).length > width)).toEqual([]);
  });

  it('is drawn again in place, also when the terminal is resized, until it is closed', () => {
    const { screen, read } = createScreen(true, 60);
    const display = createDisplay(screen, 1_000_000);
    display.show(createProgress());
    screen.columns = 40;
    screen.emit('resize');
    display.miss();
    display.show(createProgress({ status: 'paused', rate: null }));
    display.close();
    screen.emit('resize');

    const [before, ...drawn] = read().split(CLEAR_LINE);
    expect([before, drawn.length]).toEqual(['', 4]);
    expect(drawn.map((line) => line.length <= 60)).toEqual([true, true, true, true]);
    expect(drawn[1]?.length).toBeLessThan(40);
    expect(drawn[2]).toBe('no connection; trying again');
    expect(drawn[3]).toMatch(/^ 42 % .+\n$/);
  });

  it('is as on 80 columns where the terminal does not say how wide it is', () => {
    const { screen, read } = createScreen(true, 0);
    createDisplay(screen, 1_000_000).show(createProgress());

    expect(read()).toBe(`${CLEAR_LINE}${drawProgress(createProgress(), 1_000_000, 79)}`);
  });
});

describe('the progress elsewhere', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
  afterEach(() => void vi.useRealTimers());

  it('is a line when the status changes, and one in ten seconds besides', () => {
    const { screen, read } = createScreen(false, 80);
    const display = createDisplay(screen, 1_000_000);
    const at = (ms: number, share: number, status: Progress['status'] = 'dispatching') => {
      vi.advanceTimersByTime(ms);
      display.show(createProgress({ progress: share, status, rate: null }));
    };
    at(0, 0, 'queued');
    at(500, 0.1);
    at(500, 0.2);
    at(9_499, 0.3);
    at(1, 0.4);
    display.miss();
    display.miss();
    at(500, 1, 'completed');
    display.close();

    expect(read().split('\n')).toEqual([
      ...['queued: 0 %', 'dispatching: 10 %', 'dispatching: 40 %'].map((head) => `${head}, 420,000/~1,000,000 users`),
      ...['no connection; trying again', 'completed: 100 %, 420,000/~1,000,000 users', ''],
    ]);
  });
});

describe('the command line of npm run notify', () => {
  it.each<[string, string[], string[]]>([
    ['nothing', [], ['--payload is required', 'Either --user-ids or --everyone is needed, not both']],
    [
      'two audiences',
      ['--payload', 'a', '--user-ids', '1', '--everyone'],
      ['Either --user-ids or --everyone is needed, not both'],
    ],
    [
      'many faults at once',
      [
        ...['--payload', '--everyone', 'now', '--user-ids=1,,2', '--channel=fax', '--yes=1', '--url=ftp://a', '-x'],
        ...['--colour', '--subject='],
      ],
      [
        '--payload needs a value; one that begins with a dash is given as --payload=--everyone',
        ...['now is one argument too many', '--yes takes no value', '-x is not known', '--colour is not known'],
        '--user-ids must be whole numbers, separated by commas',
        ...['--subject must not be empty', '--channel must be one of email, sms'],
        '--url must be an http or https URL, without credentials, query and fragment',
      ],
    ],
    ['no user', ['--payload=a', '--user-ids='], ['--user-ids must be whole numbers, separated by commas']],
    ['users out of range', ['--payload=a', '--user-ids=0'], ['--user-ids must be from 1 on']],
    ['an option without its value', ['--user-ids=1', '--payload'], ['--payload needs a value']],
    ['an option given twice', ['--payload=a', '--everyone', '--payload=b'], ['--payload is given more than once']],
  ])('is refused with %s, naming what is wrong', (_case, args, problems) => {
    expect(() => parseNotifyCommand(args)).toThrow(new NotifyUsageError(problems.join('\n')));
  });

  it('ends with 2 where it is not understood, shows the usage, and calls nobody', async () => {
    const { code, stdout, stderr } = await runNotify({ url: 'http://127.0.0.1:8000' }, ['--payload', '--colour']);

    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^--payload needs a value; .+\nEither --user-ids .+\n\nUsage: npm run -s notify -- /);
  });

  it('shows the usage with --help', async () => {
    const { code, stdout, stderr } = await runNotify({ url: 'http://127.0.0.1:8000' }, ['--help']);

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^Usage: npm run -s notify -- --payload <text>/);
  });

  it('takes ids from several options, and what begins with a dash', () => {
    const args = ['--payload=-1', '--user-ids', '1,2', '--user-ids=3', '--channel', 'email', '--url=https://a.b/c//'];

    expect(parseNotifyCommand(args)).toEqual({
      input: { payload: '-1', user_ids: [1, 2, 3], channels: ['email'] },
      ...{ everyone: false, yes: false, url: 'https://a.b/c' },
    });
  });
});

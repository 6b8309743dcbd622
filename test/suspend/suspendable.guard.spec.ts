import { AsyncLocalStorage } from 'node:async_hooks';
import { describe, expect, it, jest } from '@jest/globals';
import { ServiceUnavailableException } from '@nestjs/common';
import {
  ClientGoneError,
  SuspendableGuard,
  type SuspendableRequestContext,
  type Suspension,
  SuspensionTimeoutError,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { contextOf, Response } from '../support/response.js';

type Filter = (context: SuspendableRequestContext) => void | Promise<void>;

class Guard extends SuspendableGuard {
  constructor(
    private readonly run: Filter,
    readonly clock = new FakeClock(),
  ) {
    super(clock);
  }

  protected filter(context: SuspendableRequestContext): void | Promise<void> {
    return this.run(context);
  }
}

/** Runs the guard, and tells what it says, its suspension and how often the request went on. */
function run(filter: Filter, response?: Response) {
  let suspension: Suspension | undefined;
  const guard = new Guard((context) => {
    const { suspend } = context;
    context.suspend = (options) => {
      suspension = suspend.call(context, options);
      return suspension;
    };
    return filter(context);
  });
  const handler = jest.fn();
  const passes = guard.canActivate(contextOf(response));
  const ended = Promise.resolve(passes).then((value) => {
    handler();
    return value;
  });
  ended.catch(() => {});
  return { guard, clock: guard.clock, passes, ended, handler, suspension: suspension as unknown as Suspension };
}

const late = new Error('late');

describe('the five hazards of a single flag', () => {
  it('a second late resume does not run the handler again', async () => {
    const { suspension, ended, handler } = run((context) => void context.suspend());
    expect(suspension.resume()).toBe(true);
    await expect(ended).resolves.toBe(true);
    expect(suspension.resume()).toBe(false);
    await new Promise(setImmediate);
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('a second resume does not release the suspension of a later filter', async () => {
    const suspensions: Suspension[] = [];
    const contexts: SuspendableRequestContext[] = [];
    const filter: Filter = (context) => {
      contexts.push(context);
      suspensions.push(context.suspend());
    };
    const execution = contextOf();
    const first = Promise.resolve(new Guard(filter).canActivate(execution));
    expect(suspensions[0].resume()).toBe(true);
    await first;
    const second = Promise.resolve(new Guard(filter).canActivate(execution));
    expect([suspensions[0].resume(), contexts[0].resume(), suspensions[0].abortWith(late)]).toEqual([
      false,
      false,
      false,
    ]);
    expect(suspensions[1].settled).toBe(false);
    expect(suspensions[1].resume()).toBe(true);
    await expect(second).resolves.toBe(true);
  });

  it.each(['sync', 'async'])(
    'after suspending and throwing (%s), a late resume does not let the request go on',
    async (kind) => {
      const thrown = new Error('thrown');
      let suspension: Suspension | undefined;
      const guard = new Guard(
        kind === 'sync'
          ? (context) => {
              suspension = context.suspend();
              throw thrown;
            }
          : async (context) => {
              suspension = context.suspend();
              await Promise.resolve();
              throw thrown;
            },
      );
      if (kind === 'sync') expect(() => guard.canActivate(contextOf())).toThrow(thrown);
      else await expect(guard.canActivate(contextOf())).rejects.toBe(thrown);
      expect(suspension?.settled).toBe(true);
      expect(suspension?.resume()).toBe(false);
      expect(guard.clock.sleeping).toBe(0);
    },
  );

  it('a suspension that nobody ends has a deadline', async () => {
    const { clock, ended, handler, suspension } = run((context) => void context.suspend());
    await clock.advance(29_999);
    expect(suspension.settled).toBe(false);
    await clock.advance(1);
    await expect(ended).rejects.toThrow('The request was suspended for longer than 30000 ms');
    expect(suspension.resume()).toBe(false);
    expect(handler).not.toHaveBeenCalled();
  });

  it('after a late abort, a resume does not let the request go on', async () => {
    const { suspension, ended, handler } = run((context) => void context.suspend());
    expect(suspension.abortWith(late)).toBe(true);
    expect(suspension.resume()).toBe(false);
    await expect(ended).rejects.toBe(late);
    expect(handler).not.toHaveBeenCalled();
  });
});

describe('what is settled before the filter returns', () => {
  it('is a plain true, and leaves no timer and no listener', () => {
    const response = new Response();
    const { passes, clock } = run((context) => {
      expect(context.suspend().resume()).toBe(true);
    }, response);
    expect(passes).toBe(true);
    expect(clock.sleeping).toBe(0);
    expect(response.eventNames()).toEqual([]);
  });

  it.each<[string, Filter]>([
    ['abortWith of the context', (context) => void context.abortWith(late)],
    ['abortWith of the suspension', (context) => void context.suspend().abortWith(late)],
    ['abortWith of the suspended context', (context) => void (context.suspend() && context.abortWith(late))],
    ['fail of the suspension', (context) => void context.suspend().fail(late)],
    ['fail of the context', (context) => void (context.suspend() && context.fail(late))],
    ['an abort before a suspension', (context) => void (context.abortWith(late) && context.suspend())],
    ['an aborted signal', (context) => void context.suspend({ signal: AbortSignal.abort(late) })],
  ])('throws synchronously: %s', (_, filter) => {
    const response = new Response();
    const guard = new Guard(filter);
    expect(() => guard.canActivate(contextOf(response))).toThrow(late);
    expect(response.eventNames()).toEqual([]);
    expect(guard.clock.sleeping).toBe(0);
  });

  it('is decided by the first call', () => {
    const { passes } = run((context) => {
      const suspension = context.suspend();
      expect([suspension.resume(), suspension.fail(late), suspension.abortWith(late), context.abortWith(late)]).toEqual(
        [true, false, false, false],
      );
    });
    expect(passes).toBe(true);
    expect(() =>
      new Guard((context) => {
        expect([context.abortWith(late), context.abortWith(new Error('second'))]).toEqual([true, false]);
      }).canActivate(contextOf()),
    ).toThrow(late);
  });
});

describe('a suspension', () => {
  it('is over where the filter has answered before, whether it is asynchronous or not', async () => {
    const first = new Error('first');
    const answered = (context: SuspendableRequestContext) => {
      expect(context.abortWith(first)).toBe(true);
      expect(context.suspend().abortWith(new Error('second'))).toBe(false);
    };
    await expect(run(async (context) => answered(context)).ended).rejects.toBe(first);
    expect(() => new Guard(answered).canActivate(contextOf())).toThrow(first);
  });

  it('is the same one when suspended twice', () => {
    run((context) => expect(context.suspend({ timeout: 5 })).toBe(context.suspend()));
  });

  it('cannot be resumed or failed where there is none', () => {
    for (const filter of [(c) => void c.resume(), (c) => void c.fail(late)] satisfies Filter[]) {
      expect(() => new Guard(filter).canActivate(contextOf())).toThrow('Cannot resume: not suspended');
    }
  });

  it.each(['100ms', 100] as const)('ends at a deadline of its own: %s', async (timeout) => {
    const { clock, ended, suspension } = run((context) => void context.suspend({ timeout }));
    const { signal } = suspension;
    await clock.advance(99);
    expect(signal.aborted).toBe(false);
    await clock.advance(1);
    const error = await ended.catch((reason) => reason);
    expect(error).toBeInstanceOf(SuspensionTimeoutError);
    expect([error.getStatus(), error.timeout]).toEqual([503, 100]);
    expect(signal.reason).toBe(error);
  });

  it.each([0, -1, Infinity, '1 s'])('has no deadline of %s', (timeout) => {
    const guard = new Guard((context) => void context.suspend({ timeout: timeout as number }));
    expect(() => guard.canActivate(contextOf())).toThrow('`timeout` must be');
    expect(guard.clock.sleeping).toBe(0);
  });

  it('ends at its deadline though an async filter still waits for what never comes', async () => {
    const { clock, ended } = run(async (context) => {
      const suspension = context.suspend({ timeout: 100 });
      await new Promise(() => {});
      suspension.resume();
    });
    await clock.advance(100);
    await expect(ended).rejects.toThrow(SuspensionTimeoutError);
  });

  it('that an async filter aborts ends at once, whatever the filter goes on to do', async () => {
    const { ended } = run(async (context) => {
      await Promise.resolve();
      context.suspend().abortWith(late);
      await new Promise(() => {});
    });
    await expect(ended).rejects.toBe(late);
  });

  it('ends with the reason of its signal, and takes its listener away', async () => {
    const controller = new AbortController();
    const remove = jest.spyOn(controller.signal, 'removeEventListener');
    const { ended, suspension, clock } = run((context) => void context.suspend({ signal: controller.signal }));
    controller.abort(late);
    await expect(ended).rejects.toBe(late);
    expect(suspension.signal.aborted).toBe(true);
    expect(suspension.resume()).toBe(false);
    expect(remove).toHaveBeenCalled();
    expect(clock.sleeping).toBe(0);
  });

  it('ends when the client goes, aborts its signal, and the request never goes on', async () => {
    const response = new Response();
    const { ended, suspension, handler, clock } = run((context) => void context.suspend(), response);
    const { signal } = suspension;
    response.leave();
    await expect(ended).rejects.toThrow(ClientGoneError);
    expect(signal.reason).toBeInstanceOf(ClientGoneError);
    expect(suspension.resume()).toBe(false);
    expect(handler).not.toHaveBeenCalled();
    expect(response.eventNames()).toEqual([]);
    expect(clock.sleeping).toBe(0);
  });

  it('is over at once where the client has gone before', () => {
    const response = new Response();
    response.leave();
    expect(() => new Guard((context) => void context.suspend()).canActivate(contextOf(response))).toThrow(
      ClientGoneError,
    );
  });

  it('does not let an async filter go on for a client that has gone meanwhile', async () => {
    const response = new Response();
    const { ended, handler } = run(async () => {
      await Promise.resolve();
      response.leave();
    }, response);
    await expect(ended).rejects.toThrow(ClientGoneError);
    expect(handler).not.toHaveBeenCalled();
  });

  it('never aborts its signal when it is resumed', async () => {
    const { suspension, ended, clock } = run((context) => void context.suspend());
    const { signal } = suspension;
    suspension.resume();
    await ended;
    await clock.advance(60_000);
    expect(signal.aborted).toBe(false);
  });

  it('keeps the async context of the request when resumed from another one', async () => {
    const storage = new AsyncLocalStorage<string>();
    let suspension: Suspension | undefined;
    const guard = new Guard((context) => {
      suspension = context.suspend();
    });
    const seen = storage.run('request', async () => {
      await guard.canActivate(contextOf());
      return storage.getStore();
    });
    storage.run('elsewhere', () => suspension?.resume());
    await expect(seen).resolves.toBe('request');
  });

  it('ends with 503 when the application shuts down, and so does every later one at once', async () => {
    const { guard, ended, clock } = run((context) => void context.suspend());
    guard.onModuleDestroy();
    await expect(ended).rejects.toThrow(ServiceUnavailableException);
    expect(clock.sleeping).toBe(0);
    expect(() => guard.canActivate(contextOf())).toThrow('The application is shutting down');
    expect(clock.sleeping).toBe(0);
  });

  it('waits for a filter that can be awaited, but is no promise', async () => {
    // biome-ignore lint/suspicious/noThenProperty: one that gives nothing back
    const { ended } = run(() => ({ then: (done: () => void) => void setImmediate(done) }) as unknown as Promise<void>);
    expect(await ended).toBe(true);
  });

  it('may be resumed by a filter that throws nothing and returns something', () => {
    // A filter written as an arrow function returns what `resume` does.
    const guard = new Guard(((context: SuspendableRequestContext) => {
      context.suspend();
      return context.resume();
    }) as unknown as Filter);
    expect(guard.canActivate(contextOf())).toBe(true);
  });
});

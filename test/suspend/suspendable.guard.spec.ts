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

/** Runs a guard and returns its result, its suspension and a handler mock that is called when the request continues. */
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
  const result = guard.canActivate(contextOf(response));
  const ended = Promise.resolve(result).then((value) => {
    handler();
    return value;
  });
  ended.catch(() => {});
  return { guard, clock: guard.clock, result, ended, handler, suspension: suspension as unknown as Suspension };
}

const late = new Error('late');

describe('SuspendableGuard: suspension races', () => {
  it('does not run the handler again on a second late resume', async () => {
    const { suspension, ended, handler } = run((context) => void context.suspend());
    expect(suspension.resume()).toBe(true);
    await expect(ended).resolves.toBe(true);
    expect(suspension.resume()).toBe(false);
    await new Promise(setImmediate);
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('does not end the suspension of a later filter on a second resume', async () => {
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
    'does not continue the request on a late resume after the filter suspended and threw (%s)',
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

  it('fails a suspension at the default timeout if it is never resumed', async () => {
    const { clock, ended, handler, suspension } = run((context) => void context.suspend());
    await clock.advance(29_999);
    expect(suspension.settled).toBe(false);
    await clock.advance(1);
    await expect(ended).rejects.toThrow('The request was suspended for longer than 30000 ms');
    expect(suspension.resume()).toBe(false);
    expect(handler).not.toHaveBeenCalled();
  });

  it('does not continue the request on a resume after a late abort', async () => {
    const { suspension, ended, handler } = run((context) => void context.suspend());
    expect(suspension.abortWith(late)).toBe(true);
    expect(suspension.resume()).toBe(false);
    await expect(ended).rejects.toBe(late);
    expect(handler).not.toHaveBeenCalled();
  });
});

describe('SuspendableGuard: suspensions settled before the filter returns', () => {
  it('returns true without a promise, and leaves no timer and no listener', () => {
    const response = new Response();
    const { result, clock } = run((context) => {
      expect(context.suspend().resume()).toBe(true);
    }, response);
    expect(result).toBe(true);
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

  it('ignores every call after the first', () => {
    const { result } = run((context) => {
      const suspension = context.suspend();
      expect([suspension.resume(), suspension.fail(late), suspension.abortWith(late), context.abortWith(late)]).toEqual(
        [true, false, false, false],
      );
    });
    expect(result).toBe(true);
    expect(() =>
      new Guard((context) => {
        expect([context.abortWith(late), context.abortWith(new Error('second'))]).toEqual([true, false]);
      }).canActivate(contextOf()),
    ).toThrow(late);
  });
});

describe('Suspension', () => {
  it('is already settled if the filter, sync or async, aborted before', async () => {
    const first = new Error('first');
    const answered = (context: SuspendableRequestContext) => {
      expect(context.abortWith(first)).toBe(true);
      expect(context.suspend().abortWith(new Error('second'))).toBe(false);
    };
    await expect(run(async (context) => answered(context)).ended).rejects.toBe(first);
    expect(() => new Guard(answered).canActivate(contextOf())).toThrow(first);
  });

  it('returns the same suspension when suspended twice', () => {
    run((context) => expect(context.suspend({ timeout: 5 })).toBe(context.suspend()));
  });

  it('throws on resume and fail if the request is not suspended', () => {
    for (const filter of [(c) => void c.resume(), (c) => void c.fail(late)] satisfies Filter[]) {
      expect(() => new Guard(filter).canActivate(contextOf())).toThrow('Cannot resume: not suspended');
    }
  });

  it.each(['100ms', 100] as const)('ends at a given timeout: %s', async (timeout) => {
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

  it.each([0, -1, Infinity, '1 s'])('rejects a timeout of %s', (timeout) => {
    const guard = new Guard((context) => void context.suspend({ timeout: timeout as number }));
    expect(() => guard.canActivate(contextOf())).toThrow('`timeout` must be');
    expect(guard.clock.sleeping).toBe(0);
  });

  it('ends at its timeout even if an async filter never returns', async () => {
    const { clock, ended } = run(async (context) => {
      const suspension = context.suspend({ timeout: 100 });
      await new Promise(() => {});
      suspension.resume();
    });
    await clock.advance(100);
    await expect(ended).rejects.toThrow(SuspensionTimeoutError);
  });

  it('ends immediately when an async filter aborts it, without waiting for the filter to return', async () => {
    const { ended } = run(async (context) => {
      await Promise.resolve();
      context.suspend().abortWith(late);
      await new Promise(() => {});
    });
    await expect(ended).rejects.toBe(late);
  });

  it('ends with the abort reason of the given signal, and removes its listener', async () => {
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

  it('ends and aborts its signal when the client disconnects, and never continues the request', async () => {
    const response = new Response();
    const { ended, suspension, handler, clock } = run((context) => void context.suspend(), response);
    const { signal } = suspension;
    response.disconnect();
    await expect(ended).rejects.toThrow(ClientGoneError);
    expect(signal.reason).toBeInstanceOf(ClientGoneError);
    expect(suspension.resume()).toBe(false);
    expect(handler).not.toHaveBeenCalled();
    expect(response.eventNames()).toEqual([]);
    expect(clock.sleeping).toBe(0);
  });

  it('throws synchronously if the client has already disconnected', () => {
    const response = new Response();
    response.disconnect();
    expect(() => new Guard((context) => void context.suspend()).canActivate(contextOf(response))).toThrow(
      ClientGoneError,
    );
  });

  it('rejects the request if the client disconnects while an async filter runs', async () => {
    const response = new Response();
    const { ended, handler } = run(async () => {
      await Promise.resolve();
      response.disconnect();
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

  it('keeps the async context of the request when resumed from another context', async () => {
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

  it('ends with 503 when the application shuts down, and rejects later requests synchronously', async () => {
    const { guard, ended, clock } = run((context) => void context.suspend());
    guard.onModuleDestroy();
    await expect(ended).rejects.toThrow(ServiceUnavailableException);
    expect(clock.sleeping).toBe(0);
    expect(() => guard.canActivate(contextOf())).toThrow('The application is shutting down');
    expect(clock.sleeping).toBe(0);
  });

  it('awaits a thenable that is not a promise', async () => {
    // biome-ignore lint/suspicious/noThenProperty: the filter returns a bare thenable
    const { ended } = run(() => ({ then: (done: () => void) => void setImmediate(done) }) as unknown as Promise<void>);
    expect(await ended).toBe(true);
  });

  it('ignores the return value of a filter that resumes', () => {
    // A filter written as an arrow function returns the result of `resume`.
    const guard = new Guard(((context: SuspendableRequestContext) => {
      context.suspend();
      return context.resume();
    }) as unknown as Filter);
    expect(guard.canActivate(contextOf())).toBe(true);
  });
});

import { AsyncLocalStorage } from 'node:async_hooks';
import { describe, expect, it, jest } from '@jest/globals';
import { ServiceUnavailableException } from '@nestjs/common';
import {
  ClientGoneError,
  type ResponseOutcome,
  SuspendableInterceptor,
  type SuspendableResponseContext,
  SuspensionTimeoutError,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { from, lastValueFrom, NEVER, type Observable, of, Subject, throwError, toArray } from 'rxjs';
import { contextOf, Response } from '../support/response.js';

type Filter = (context: SuspendableResponseContext, outcome: ResponseOutcome) => void | Promise<void>;

class Interceptor extends SuspendableInterceptor {
  readonly outcomes: ResponseOutcome[] = [];

  constructor(
    private readonly run: Filter = () => {},
    readonly clock = new FakeClock(),
  ) {
    super(clock);
  }

  protected filterResponse(context: SuspendableResponseContext, outcome: ResponseOutcome): void | Promise<void> {
    this.outcomes.push(outcome);
    return this.run(context, outcome);
  }
}

const late = new Error('late');
const failed = new Error('failed');

function run(filter: Filter, handled: Observable<unknown> = of('value'), response = new Response()) {
  const interceptor = new Interceptor(filter);
  const events: unknown[] = [];
  const subscription = interceptor.intercept(contextOf(response), { handle: () => handled }).subscribe({
    next: (value) => events.push(value),
    error: (error) => events.push(error),
    complete: () => events.push('complete'),
  });
  return { interceptor, events, response, subscription };
}

describe('SuspendableInterceptor', () => {
  it('emits a value synchronously, and leaves no timer and no listener', () => {
    const { interceptor, events, response } = run(() => {});
    expect(events).toEqual(['value', 'complete']);
    expect(interceptor.outcomes).toEqual([{ value: 'value' }]);
    expect(response.eventNames()).toEqual([]);
    expect(interceptor.clock.sleeping).toBe(0);
  });

  it('emits an error unchanged and synchronously', () => {
    const { interceptor, events } = run(
      () => {},
      throwError(() => failed),
    );
    expect(events).toEqual([failed]);
    expect(interceptor.outcomes).toEqual([{ error: failed }]);
  });

  it.each<[string, Filter, unknown[]]>([
    ['a value with a value', (context) => context.replace({ value: 1 }), [1, 'complete']],
    ['a value with an error', (context) => context.replace({ error: late }), [late]],
    [
      'a value by throwing',
      () => {
        throw late;
      },
      [late],
    ],
    [
      'a value by failing before the filter returns',
      (context) => void (context.suspend() && context.fail(late)),
      [late],
    ],
    [
      'nothing if resumed before the filter returns',
      (context) => void context.suspend().resume(),
      ['value', 'complete'],
    ],
  ])('replaces synchronously: %s', (_, filter, expected) => {
    const { events, interceptor } = run(filter);
    expect(events).toEqual(expected);
    expect(interceptor.clock.sleeping).toBe(0);
  });

  it('replaces an error with a value', () => {
    expect(
      run(
        (context) => context.replace({ value: 'recovered' }),
        throwError(() => failed),
      ).events,
    ).toEqual(['recovered', 'complete']);
  });

  it('waits until resumed, and emits the value that replaced the original during the suspension', async () => {
    let suspended: SuspendableResponseContext | undefined;
    const { events } = run((context) => {
      context.suspend();
      suspended = context;
    });
    await new Promise(setImmediate);
    expect(events).toEqual([]);
    suspended?.replace({ value: 'other' });
    expect(suspended?.resume()).toBe(true);
    expect(suspended?.resume()).toBe(false);
    await new Promise(setImmediate);
    expect(events).toEqual(['other', 'complete']);
  });

  it('emits the error of a late fail unchanged', async () => {
    const { events } = run((context) => {
      context.suspend();
      setImmediate(() => context.fail(late));
    });
    await new Promise(setImmediate);
    expect(events).toEqual([late]);
  });

  it('emits an error on resume if the response is not suspended', () => {
    expect(run((context) => void context.resume()).events).toEqual([new Error('Cannot resume: not suspended')]);
  });

  it('ends at its timeout, even if an async filter never returns', async () => {
    for (const filter of [
      (context) => void context.suspend({ timeout: 10 }),
      async (context) => {
        context.suspend({ timeout: 10 });
        await new Promise(() => {});
      },
    ] satisfies Filter[]) {
      const { events, interceptor } = run(filter);
      await interceptor.clock.advance(10);
      await new Promise(setImmediate);
      expect(events).toEqual([expect.any(SuspensionTimeoutError)]);
    }
  });

  it('ends with 503 when the application shuts down', async () => {
    const { events, interceptor } = run((context) => void context.suspend());
    interceptor.onModuleDestroy();
    await new Promise(setImmediate);
    expect(events).toEqual([expect.any(ServiceUnavailableException)]);
    expect(interceptor.clock.sleeping).toBe(0);
  });

  it('reports a disconnect before the outcome once, and does not report the outcome', () => {
    const handled = new Subject();
    const response = new Response();
    const { interceptor } = run(() => {}, handled, response);
    response.disconnect();
    expect(interceptor.outcomes).toEqual([{ error: expect.any(ClientGoneError) }]);
    handled.next('value');
    handled.complete();
    expect(interceptor.outcomes).toHaveLength(1);
    expect(response.eventNames()).toEqual([]);
  });

  it('does not report a disconnect after the outcome', () => {
    const response = new Response();
    const { interceptor } = run(() => {}, of('value'), response);
    response.disconnect();
    expect(interceptor.outcomes).toEqual([{ value: 'value' }]);
  });

  it('aborts the signal of the suspension when the client disconnects', async () => {
    const response = new Response();
    const aborted = jest.fn();
    const { events, interceptor } = run(
      (context) => context.suspend().signal.addEventListener('abort', aborted),
      of('value'),
      response,
    );
    response.disconnect();
    await new Promise(setImmediate);
    expect(aborted).toHaveBeenCalledTimes(1);
    expect(events).toEqual([expect.any(ClientGoneError)]);
    expect(response.eventNames()).toEqual([]);
    expect(interceptor.clock.sleeping).toBe(0);
  });

  it('filters each value of a stream in order, even if some are suspended', async () => {
    const interceptor = new Interceptor((context, outcome) => {
      const { value } = outcome as { value: number };
      context.replace({ value: value * 10 });
      if (value % 2) {
        const suspension = context.suspend();
        setImmediate(() => suspension.resume());
      }
    });
    const seen = interceptor.intercept(contextOf(), { handle: () => from([1, 2, 3, 4]) });
    expect(await lastValueFrom(seen.pipe(toArray()))).toEqual([10, 20, 30, 40]);
  });

  it('unsubscribes from the handler and the response when its subscriber unsubscribes', () => {
    const response = new Response();
    const handled = new Subject();
    const { subscription } = run(() => {}, handled, response);
    expect(handled.observed).toBe(true);
    subscription.unsubscribe();
    expect(handled.observed).toBe(false);
    expect(response.eventNames()).toEqual([]);
    run(() => {}, NEVER, response).subscription.unsubscribe();
    expect(response.eventNames()).toEqual([]);
  });

  it('keeps the async context of the request when resumed from another context', async () => {
    const storage = new AsyncLocalStorage<string>();
    let suspended: SuspendableResponseContext | undefined;
    const interceptor = new Interceptor((context) => {
      context.suspend();
      suspended = context;
    });
    const seen = storage.run('request', async () => {
      await lastValueFrom(interceptor.intercept(contextOf(), { handle: () => of('value') }));
      return storage.getStore();
    });
    storage.run('elsewhere', () => suspended?.resume());
    await expect(seen).resolves.toBe('request');
  });
});

import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { ExecutionContext, INestApplication, Type } from '@nestjs/common';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import {
  MemoryStore,
  RateLimit,
  RateLimitExceededException,
  RateLimitGuard,
  RateLimitModule,
  type RateLimitOptions,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { ADAPTERS, createApp } from '../support/create-app.js';

const TWO = { maxRequest: 2, unit: 'minute' } as const;

class Resource {
  @RateLimit(TWO)
  constant() {}

  @RateLimit([TWO, { capacity: 5, refill: 1, cost: 2.5, key: 'all' }])
  several() {}

  @RateLimit({ ...TWO, key: () => 'resolved', cost: () => 1, skip: () => false })
  resolved() {}

  @RateLimit({ ...TWO, key: async () => 'resolved later' })
  later() {}

  @RateLimit({ ...TWO, skip: true })
  skipped() {}

  @RateLimit({ ...TWO, maxWait: '30s' } as RateLimitOptions)
  waiting() {}

  free() {}
}

describe.each(ADAPTERS)('RateLimitGuard with a MemoryStore on %s', (adapter) => {
  const clock = new FakeClock();
  let app: INestApplication;
  let guard: RateLimitGuard;
  beforeEach(async () => {
    app = await createApp(adapter, { imports: [RateLimitModule.forRoot({ store: new MemoryStore({ clock }) })] });
    guard = app.get(RateLimitGuard);
  });
  afterEach(() => app.close());

  /** Returns the context of a new request, with only the parts that the guard may use. */
  const contextOf = (handler: keyof Resource): ExecutionContext => {
    const headers = new Map<string, string>();
    const response = {
      headers,
      set: (name: string, value: string) => headers.set(name, value),
      setHeader: (name: string, value: string) => headers.set(name, value),
      header: (name: string, value: string) => headers.set(name, value),
    };
    return new ExecutionContextHost([{ ip: '203.0.113.7' }, response], Resource as Type, Resource.prototype[handler]);
  };

  it.each(['constant', 'several', 'resolved'] as const)('returns true and throws synchronously: %s', (handler) => {
    expect(guard.canActivate(contextOf(handler))).toBe(true);
    expect(guard.canActivate(contextOf(handler))).toBe(true);
    const rejected = contextOf(handler);
    expect(() => guard.canActivate(rejected)).toThrow(RateLimitExceededException);
    expect(rejected.switchToHttp().getResponse<{ headers: Map<string, string> }>().headers.get('ratelimit')).toMatch(
      /r=0;t=\d+/,
    );
  });

  it('returns true for undecorated and skipped handlers', () => {
    for (let i = 0; i < 5; i++) {
      expect(guard.canActivate(contextOf('free'))).toBe(true);
      expect(guard.canActivate(contextOf('skipped'))).toBe(true);
    }
  });

  it('counts once if called repeatedly with one context', () => {
    const context = contextOf('constant');
    for (let i = 0; i < 5; i++) expect(guard.canActivate(context)).toBe(true);
    expect(guard.canActivate(contextOf('constant'))).toBe(true);
    expect(() => guard.canActivate(contextOf('constant'))).toThrow('Too Many Requests');
  });

  it('carries the decision in the exception', () => {
    guard.canActivate(contextOf('constant'));
    guard.canActivate(contextOf('constant'));
    let thrown: unknown;
    try {
      guard.canActivate(contextOf('constant'));
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({
      decision: {
        allowed: false,
        policy: 'Resource.constant',
        limit: 2,
        remaining: 0,
        retryAfter: 60_000,
        source: 'store',
      },
    });
  });

  it('returns a promise if it has to await a key or a turn', async () => {
    const resolving = guard.canActivate(contextOf('later'));
    expect(resolving).toBeInstanceOf(Promise);
    await expect(resolving).resolves.toBe(true);
    expect(guard.canActivate(contextOf('waiting'))).toBe(true);
    expect(guard.canActivate(contextOf('waiting'))).toBe(true);
    await clock.advance(50_000);
    const waits = guard.canActivate(contextOf('waiting'));
    expect(waits).toBeInstanceOf(Promise);
    await clock.advance(10_000);
    await expect(waits).resolves.toBe(true);
  });
});

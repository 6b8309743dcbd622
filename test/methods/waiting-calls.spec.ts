import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { describe, expect, it } from '@jest/globals';
import { Injectable, SetMetadata, type Type } from '@nestjs/common';
import { ExternalContextCreator } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import {
  type DecisionMessage,
  MemoryStore,
  RateLimit,
  RateLimitExceededException,
  RateLimitModule,
  type RateLimitModuleOptions,
  RateLimitUnavailableException,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { createApp } from '../support/create-app.js';

const SECOND = { capacity: 1, refill: 1 } as const;

@Injectable()
class Jobs {
  readonly done: number[] = [];

  @RateLimit({ ...SECOND, maxWait: Infinity })
  async run(id: number): Promise<number> {
    this.done.push(id);
    return id;
  }

  @RateLimit({ ...SECOND, maxWait: '2s' })
  async briefly(id: number): Promise<number> {
    return id;
  }

  @RateLimit({ capacity: 1, refill: 1, unit: 'days', cost: 1, maxWait: Infinity })
  async daily(id: number): Promise<number> {
    return id;
  }
}

async function start(type: Type<Jobs>, options: RateLimitModuleOptions = {}) {
  const clock = new FakeClock();
  const store = new MemoryStore({ clock });
  const imports = [RateLimitModule.forRoot({ store, ...options })];
  const app = await Test.createTestingModule({ imports, providers: [type] }).compile();
  await app.init();
  return { app, clock, jobs: app.get(type) };
}

describe('calls of a method with `maxWait`', () => {
  it('are queued without a limit of time, first in, first out', async () => {
    const { app, clock, jobs } = await start(Jobs);
    const all = Promise.all(Array.from({ length: 100 }, (_, id) => jobs.run(id)));
    await clock.advance(49_000);
    expect(jobs.done).toEqual(Array.from({ length: 50 }, (_, id) => id));
    await clock.advance(50_000);
    expect(await all).toEqual(jobs.done);
    await app.close();
  });

  it('are queued for weeks', async () => {
    const { app, clock, jobs } = await start(Jobs);
    const all = Promise.all(Array.from({ length: 50 }, (_, id) => jobs.daily(id)));
    await clock.advance(49 * 86_400_000);
    expect(await all).toHaveLength(50);
    await app.close();
  });

  it('are denied at once if they would wait longer', async () => {
    const { app, clock, jobs } = await start(Jobs);
    const admitted = [0, 1, 2].map((id) => jobs.briefly(id));
    await expect(jobs.briefly(3)).rejects.toThrow(RateLimitExceededException);
    await clock.advance(2000);
    expect(await Promise.all(admitted)).toEqual([0, 1, 2]);
    await app.close();
  });

  it('are denied if `maxSuspended` calls are queued', async () => {
    const { app, clock, jobs } = await start(Jobs, { maxSuspended: 2 });
    const admitted = [0, 1, 2].map((id) => jobs.run(id));
    await expect(jobs.run(3)).rejects.toThrow(RateLimitExceededException);
    await clock.advance(2000);
    expect(await Promise.all(admitted)).toEqual([0, 1, 2]);
    await app.close();
  });

  it('reject when the application closes', async () => {
    const { app, jobs } = await start(Jobs);
    await jobs.run(0);
    const waiting = expect(jobs.run(1)).rejects.toThrow(RateLimitUnavailableException);
    await app.close();
    await waiting;
    expect(jobs.done).toEqual([0]);
  });

  it('stop the start for a handler, whose client does not wait forever', async () => {
    const { Controller, Get } = await import('@nestjs/common');
    @Controller()
    class Users {
      @RateLimit({ ...SECOND, maxWait: Infinity }) @Get() list() {}
    }
    const imports = [RateLimitModule.forRoot()];
    await expect(createApp('express', { imports, controllers: [Users] })).rejects.toThrow(
      'Invalid @RateLimit on Users.list: `maxWait` must be at most ten years, got Infinity',
    );
  });
});

it('publishes decisions of the transport `method`', async () => {
  const { app, jobs } = await start(Jobs);
  const seen: unknown[] = [];
  const listen = (message: unknown) => {
    const { policy, transport, allowed, key } = message as DecisionMessage;
    seen.push({ policy, transport, allowed, key });
  };
  subscribe('nest-rate-limit:decision', listen);
  await jobs.run(0);
  unsubscribe('nest-rate-limit:decision', listen);
  expect(seen).toEqual([{ policy: 'Jobs.run', transport: 'method', allowed: true, key: 'all' }]);
  await app.close();
});

it('limits the calls of a method with metadata of another library, unless the guard runs for it', async () => {
  @Injectable()
  class Consumer {
    @RateLimit({ ...SECOND, key: 'all' }) @SetMetadata('traced', true) async service() {
      return 'called';
    }

    @RateLimit({ ...SECOND, key: 'all' }) @SetMetadata('consumer:queue', 'mail') handle() {
      return 'handled';
    }

    @RateLimit({ ...SECOND, key: 'all' }) @SetMetadata('traced', true) text(): string {
      return 'text';
    }
  }
  const app = await createApp('express', { imports: [RateLimitModule.forRoot()], providers: [Consumer] });
  const consumer = app.get(Consumer);
  expect(await consumer.service()).toBe('called');
  await expect(consumer.service()).rejects.toThrow(RateLimitExceededException);
  const creator = app.get(ExternalContextCreator);
  const { handle: method } = consumer;
  const handle = creator.create(
    consumer,
    method,
    'handle',
    undefined,
    undefined,
    undefined,
    undefined,
    undefined,
    'queue',
  );
  expect(await handle({})).toBe('handled');
  await expect(handle({})).rejects.toThrow(RateLimitExceededException);
  expect(consumer.handle()).toBe('handled');
  expect(() => consumer.text()).toThrow('a limited method must return a promise');
  await app.close();
});

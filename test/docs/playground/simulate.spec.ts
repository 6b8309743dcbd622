import { describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication } from '@nestjs/common';
import fc from 'fast-check';
import { byHeader, MemoryStore, RateLimit, RateLimitModule, type RateLimitOptions } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { compile, type LoggedRequest, Simulation, simulate } from '../../../docs/playground/simulate.js';
import { toAmount } from '../../../src/core/amount.js';
import { toDecision } from '../../../src/core/answer.js';
import { parsePolicy } from '../../../src/core/policy.js';
import { ADAPTERS, type AdapterName, createApp } from '../../support/create-app.js';
import { checkProperty, costs, pauses, policies, storeKinds } from '../../support/store-subject.js';

const START = new FakeClock().now();
const HEADERS = ['ratelimit', 'ratelimit-policy', 'retry-after'];

/** Requests of two clients, some at the same time and some after pauses. */
const LOG: readonly LoggedRequest[] = Array.from({ length: 40 }, (_, i) => ({
  at: START + Math.floor(i / 4) * 700 + (i % 8 === 0 ? 300 : 0) + (i > 30 ? 20_000 : 0),
  client: i % 3 === 0 ? 'grace' : 'ada',
})).sort((a, b) => a.at - b.at);

async function limitedApp(adapter: AdapterName, input: RateLimitOptions | RateLimitOptions[], clock: FakeClock) {
  @Controller()
  class OrdersController {
    @RateLimit(input)
    @Get()
    list() {}
  }
  const store = new MemoryStore({ clock });
  return createApp(adapter, {
    imports: [RateLimitModule.forRoot({ store, key: byHeader('x-client') })],
    controllers: [OrdersController],
  });
}

async function responseOf(app: INestApplication, client: string) {
  const { status, headers } = await request(app.getHttpServer()).get('/').set('x-client', client);
  const sent = Object.fromEntries(HEADERS.filter((name) => name in headers).map((name) => [name, headers[name]]));
  return { status, headers: sent };
}

describe('simulate', () => {
  const cases: [string, RateLimitOptions | RateLimitOptions[]][] = [
    ['a window', { maxRequest: 3, duration: 2 }],
    ['a bucket', { capacity: 4, refill: 1 }],
    ['a bucket that is refilled at once', { capacity: 4, refill: 4, duration: 3, refillMode: 'intervally' }],
    ['a window and a bucket', { maxRequest: 5, capacity: 3, refill: 2, duration: 4 }],
    ['a bucket without refill', { capacity: 6, refill: 0 }],
    ['a cost', { capacity: 10, refill: 2.5, cost: 2 }],
    ['a block', { maxRequest: 2, duration: 1, block: '5s' }],
    ['one bucket for all clients', { capacity: 5, refill: 1, key: 'all' }],
    [
      'a list of policies',
      [
        { maxRequest: 3, duration: 2 },
        { name: 'total', maxRequest: 20, duration: 10, key: 'all' },
      ],
    ],
    ['a policy that is skipped', { maxRequest: 1, skip: true }],
  ];
  it.each(cases)('decides like a real application on Express and Fastify: %s', async (_, input) => {
    const simulation = new Simulation(compile(input));
    const simulated = LOG.map((logged) => {
      const outcome = simulation.send(logged);
      const allowed = outcome.decision?.allowed ?? true;
      return { status: allowed ? 200 : 429, headers: simulation.headersOf(outcome) };
    });
    for (const adapter of ADAPTERS) {
      const clock = new FakeClock();
      const app = await limitedApp(adapter, input, clock);
      const real = [];
      for (const { at, client } of LOG) {
        clock.set(at);
        real.push(await responseOf(app, client));
      }
      await app.close();
      expect(simulated).toEqual(real);
    }
  });

  const { redis } = storeKinds();

  it('decides like the Redis store for random policies, costs, queues and logs', () =>
    checkProperty(
      redis.runs,
      0.15,
      fc.tuple(
        policies,
        costs,
        fc.constantFrom(0, 0, 20, 300),
        fc.array(fc.record({ pause: pauses, client: fc.constantFrom('ada', 'grace') }), {
          minLength: 5,
          maxLength: 30,
        }),
      ),
      async ([options, cost, maxWait, steps], cover) => {
        const waits = maxWait > 0 ? { maxWait } : {};
        let plan: ReturnType<typeof compile>;
        try {
          plan = compile({ ...options, cost, ...waits });
        } catch (error) {
          expect((error as Error).message).toMatch(/otherwise no request could be allowed/);
          return;
        }
        let at = START;
        const log = steps.map(({ pause, client }) => {
          at += pause;
          return { at, client };
        });
        const clock = new FakeClock();
        const store = redis.make(clock);
        const policy = parsePolicy(options, 'property');
        const decisions = [];
        for (const logged of log) {
          clock.set(logged.at);
          const take = { policy, key: logged.client, amount: toAmount(cost) as number, maxWait };
          decisions.push(toDecision(await store.run({ verb: 'take', takes: [take] })));
        }
        expect([...simulate(plan, log)].map(({ decision }) => decision)).toEqual(decisions);
        if (decisions.some(({ allowed }) => !allowed)) cover();
      },
    ));

  it('reads an endless log one request at a time', () => {
    let read = 0;
    function* endless(): Generator<LoggedRequest> {
      for (;;) yield { at: START + read++ * 1000, client: 'ada' };
    }
    const outcomes = simulate(compile({ maxRequest: 1, duration: 3 }), endless());
    const allowed = Array.from({ length: 6 }, () => outcomes.next().value?.decision?.allowed);
    expect(allowed).toEqual([true, false, false, true, false, false]);
    expect(read).toBe(6);
  });

  it('keeps at most maxBuckets buckets, and drops full ones', () => {
    const simulation = new Simulation(compile({ maxRequest: 1, duration: 10 }), 1000);
    for (let i = 0; i < 5000; i++) simulation.send({ at: START + i, client: `client ${i}` });
    expect(simulation.size).toBe(1000);
    for (let i = 0; i < 1000; i++) simulation.send({ at: START + 60_000, client: `late ${i % 10}` });
    expect(simulation.size).toBeLessThan(1000);
  });

  it('decides a late request at the time of the latest one before', () => {
    const simulation = new Simulation(compile({ capacity: 1, refill: 1 }));
    simulation.send({ at: START + 5000, client: 'ada' });
    const { decision } = simulation.send({ at: START, client: 'ada' });
    expect(decision).toMatchObject({ allowed: false, retryAfter: 1000 });
  });

  it('takes nothing to report the limits of a client', () => {
    const simulation = new Simulation(compile({ capacity: 2, refill: 1 }));
    simulation.send({ at: START, client: 'ada' });
    const limits = [1, 2].map(() => simulation.limitsAt({ at: START, client: 'ada' }));
    expect(limits[0]).toMatchObject([{ name: 'OrdersController.list', limit: 2, remaining: 1, resetAfter: 1000 }]);
    expect(limits[1]).toEqual(limits[0]);
    expect(simulation.limitsAt({ at: START, client: 'grace' })).toMatchObject([{ remaining: 2 }]);
  });
});

import { channel } from 'node:diagnostics_channel';
import { afterAll, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Controller, type ExecutionContext, Get, type INestApplication, Logger } from '@nestjs/common';
import { Resolver as GraphqlResolver, Query } from '@nestjs/graphql';
import { ClientProxyFactory, MessagePattern, Transport } from '@nestjs/microservices';
import {
  BucketService,
  type Decision,
  type DecisionMessage,
  RateLimit,
  RateLimitModule,
  RateLimitOptionError,
  type RateLimitOptions,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { lastValueFrom } from 'rxjs';
import request from 'supertest';
import { BrokenStore } from '../support/broken-store.js';
import { COMBINATIONS, createApp } from '../support/create-app.js';
import { adapterOf, graphqlModule, query, SERVERS } from '../support/graphql.js';
import { freePort } from '../support/redis.js';
import { clockedStore, until } from '../support/requests.js';

const HOUR = { unit: 'hour', key: 'all' } as const;
const OTHER = { ...HOUR, name: 'other', maxRequest: 5 } as const;

let resolved: RateLimitOptions;
const account = (): RateLimitOptions => ({
  ...(resolved.limits ? { key: 'all' } : HOUR),
  name: 'account',
  ...resolved,
});
const seen: Decision[] = [];
const settled: string[] = [];

@Controller()
class Resource {
  @RateLimit(account)
  @Get('one')
  one() {}

  @RateLimit(OTHER)
  @RateLimit(async () => account())
  @Get('two')
  two() {}

  @RateLimit(() => ({
    ...account(),
    message: (_context: ExecutionContext, decision: Decision) => {
      seen.push(decision);
      return 'Your account is suspended';
    },
  }))
  @Get('message')
  message() {}

  @RateLimit(() => ({ ...account(), onLimited: () => 'a cached answer' }))
  @Get('answered')
  answered() {}

  @RateLimit(OTHER)
  @RateLimit(() => ({ ...account(), settle: () => settled.push('account') }))
  @Get('settled')
  settled() {}
}

const ZERO: [string, RateLimitOptions, string?][] = [
  ['a window of 0', { maxRequest: 0 }],
  ['a bucket of 0', { capacity: 0, refill: 1 }],
  ['a bucket of 0 without refill', { capacity: 0, refill: 0 }],
  ['a bucket that gains 0 requests', { capacity: 20, maxRequest: 0 }],
  ['a window of 0 beside a bucket', { maxRequest: 0, capacity: 20, refill: 10 }],
  ['a bucket of 0 beside a window', { maxRequest: 20, capacity: 0, refill: 10 }],
  ['0 beside Infinity', { maxRequest: Infinity, capacity: 0, refill: 10 }],
  ['a limit of 0 in a list', { limits: [{ maxRequest: 20 }, { maxRequest: 0, unit: 'days' }] }],
  ['a quota of 0', { limits: [{ capacity: 0, calendar: 'month' }] }],
  ['a quota of 0 requests', { limits: [{ maxRequest: 0, calendar: 'month' }] }],
  ['0 with maxWait', { maxRequest: 0, maxWait: '5s' }],
  ['0 with a block', { maxRequest: 0, block: '1h' }],
  ['0 with a cost', { capacity: 0, refill: 1, cost: 2.5 }],
  ['0 with a lease', { capacity: 0, refill: 1, lease: 10 }],
  ['0 with settle', { maxRequest: 0, settle: 'failures' }],
];

const INFINITE: [string, RateLimitOptions][] = [
  ['a window', { maxRequest: Infinity }],
  ['a bucket', { capacity: Infinity, refill: 1 }],
  ['a bucket with an infinite refill', { capacity: Infinity, refill: Infinity }],
  ['a bucket that gains infinitely many requests', { capacity: 20, maxRequest: Infinity }],
  ['both', { maxRequest: Infinity, capacity: Infinity, refill: 1 }],
  ['all limits of a list', { limits: [{ maxRequest: Infinity }, { capacity: Infinity, refill: 1 }] }],
  ['a quota', { limits: [{ capacity: Infinity, calendar: 'month' }] }],
  ['a limit with maxWait and a block', { maxRequest: Infinity, maxWait: '5s', block: '1h' }],
  ['a bucket with a lease and a cost', { capacity: Infinity, refill: 1, lease: 10, cost: 1e6 }],
];

describe.each(COMBINATIONS)('Limits resolved per request on $adapter with the $store store', ({ adapter, store }) => {
  const clock = new FakeClock();
  const decisions: DecisionMessage[] = [];
  const calls: unknown[] = [];
  const record = (message: unknown) => decisions.push(message as DecisionMessage);
  const recordCall = (message: unknown) => calls.push(message);
  let app: INestApplication;
  beforeAll(async () => {
    app = await createApp(adapter, {
      imports: [RateLimitModule.forRoot({ ...clockedStore(store, clock), headers: ['draft-11', 'draft-6', 'legacy'] })],
      controllers: [Resource],
    });
    channel('nest-rate-limit:decision').subscribe(record);
    channel('nest-rate-limit:store').subscribe(recordCall);
  });
  beforeEach(async () => {
    await clock.advance(10 * 3_600_000);
    for (const list of [decisions, calls, seen, settled]) list.length = 0;
  });
  afterAll(async () => {
    channel('nest-rate-limit:decision').unsubscribe(record);
    channel('nest-rate-limit:store').unsubscribe(recordCall);
    await app.close();
  });
  const get = (path: string) => request(app.getHttpServer()).get(path);
  const left = ({ key, ...policy }: typeof OTHER) => app.get(BucketService).bucket(policy, key).available();
  const limitHeaders = (headers: object) =>
    Object.fromEntries(Object.entries(headers).filter(([name]) => /ratelimit|retry/.test(name)));

  it.each(ZERO)('deny the request without Retry-After and without the store: %s', async (_, options) => {
    resolved = options;
    for (let i = 0; i < 3; i++) {
      const { status, headers } = await get('/one');
      expect(status).toBe(429);
      expect(limitHeaders(headers)).toEqual({
        'ratelimit-policy': '"account";q=0',
        ratelimit: '"account";r=0',
        'ratelimit-limit': '0',
        'ratelimit-remaining': '0',
        'x-ratelimit-limit': '0',
        'x-ratelimit-remaining': '0',
      });
    }
    expect(calls).toEqual([]);
    const decision = { policy: 'account', allowed: false, source: 'store', delay: 0, dryRun: false, transport: 'http' };
    const times = { retryAfter: Infinity, resetAfter: Infinity };
    expect(decisions).toEqual(Array(3).fill({ ...decision, ...times, remaining: 0, limit: 0, key: 'all' }));
  });

  it.each(INFINITE)('exempt the request: Infinity of %s', async (_, options) => {
    resolved = options;
    for (let i = 0; i < 30; i++) {
      const { status, headers } = await get('/one');
      expect([status, limitHeaders(headers)]).toEqual([200, {}]);
    }
    expect([...calls, ...decisions]).toEqual([]);
  });

  it.each<[string, RateLimitOptions, string]>([
    ['a window', { maxRequest: 2, capacity: Infinity, refill: 1 }, '"account";r=1;t=3600'],
    ['a bucket', { maxRequest: Infinity, capacity: 2, refill: 2 }, '"account";r=1;t=1800'],
    ['an entry of a list', { limits: [{ maxRequest: Infinity }, { maxRequest: 2 }] }, '"account";r=1;t=1'],
  ])('apply the finite limits beside infinite ones: %s', async (_, options, first) => {
    resolved = options;
    const { status, headers } = await get('/one');
    expect([status, headers.ratelimit]).toEqual([200, first]);
    expect([(await get('/one')).status, (await get('/one')).status]).toEqual([200, 429]);
  });

  it('take nothing from other policies if one has a limit of 0, and report only that', async () => {
    resolved = { maxRequest: 0 };
    const { status, headers } = await get('/two');
    expect([status, headers.ratelimit]).toEqual([429, '"account";r=0']);
    expect(headers['ratelimit-policy']).toBe('"account";q=0');
    expect(calls).toEqual([]);
    expect(await left(OTHER)).toBe(5);
  });

  it('apply other policies if one exempts the request', async () => {
    resolved = { maxRequest: Infinity };
    const { status, headers } = await get('/two');
    expect([status, headers['ratelimit-policy'], headers.ratelimit]).toEqual([
      200,
      '"other";q=5;w=3600',
      '"other";r=4;t=3600',
    ]);
  });

  it('settle only the amounts taken', async () => {
    resolved = { maxRequest: 0 };
    expect((await get('/settled')).status).toBe(429);
    resolved = { maxRequest: Infinity };
    expect((await get('/settled')).status).toBe(200);
    resolved = { maxRequest: 3 };
    expect((await get('/settled')).status).toBe(200);
    await until(() => settled.length === 1);
    expect(settled).toEqual(['account']);
  });

  it('apply their other options to the denial', async () => {
    resolved = { maxRequest: 0 };
    const { body } = await get('/message');
    expect(body).toEqual({ statusCode: 429, message: 'Your account is suspended' });
    const limit = { limit: 0, remaining: 0, retryAfter: Infinity, resetAfter: Infinity };
    expect(seen).toEqual([
      {
        ...{ allowed: false, policy: 'account', delay: 0, source: 'store' },
        ...limit,
        limits: [{ ...limit, name: 'account', moreAfter: Infinity }],
      },
    ]);
    const { status, text } = await get('/answered');
    expect([status, text]).toEqual([200, 'a cached answer']);
  });

  it('deny, exempt or limit as the numbers change', async () => {
    const found: number[] = [];
    for (const maxRequest of [0, 1, 1, Infinity, 0, 2, 2, 2]) {
      resolved = { maxRequest };
      found.push((await get('/one')).status);
    }
    // The request that 1 has admitted counts for 2, too.
    expect(found).toEqual([429, 200, 429, 200, 429, 200, 429, 429]);
  });

  it.each<[string, (size: number) => RateLimitOptions, number[], string]>([
    ['a window', (maxRequest) => ({ maxRequest }), [200, 200, 429, 200, 429, 429], '"account";r=0;t=3600'],
    ['a bucket', (capacity) => ({ capacity, refill: capacity }), [200, 200, 429, 429, 429, 429], '"account";r=0;t=900'],
  ])('carry the balance over as the numbers change: %s', async (_, of, statuses, ratelimit) => {
    const found: number[] = [];
    for (const size of [2, 2, 2, 3, 3, 2]) {
      resolved = of(size);
      found.push((await get('/one')).status);
    }
    expect(found).toEqual(statuses);
    resolved = of(4);
    expect((await get('/one')).headers.ratelimit).toBe(ratelimit);
  });

  it('do not deny a request that `skip` or a cost of 0 exempts', async () => {
    for (const options of [{ skip: true }, { skip: async () => true }, { cost: 0 }, { cost: () => 0 }]) {
      resolved = { maxRequest: 0, ...options };
      expect((await get('/one')).status).toBe(200);
    }
    expect(decisions).toEqual([]);
  });

  it('never reject in a dry run', async () => {
    resolved = { maxRequest: 0, dryRun: true };
    const { status, headers } = await get('/two');
    expect([status, headers['ratelimit-policy']]).toEqual([200, '"other";q=5;w=3600']);
    await until(() => decisions.length === 2);
    const denials = decisions.filter(({ allowed }) => !allowed);
    expect(denials).toMatchObject([{ policy: 'account', dryRun: true, limit: 0, retryAfter: Infinity }]);
    expect(calls).toHaveLength(store === 'redis' ? 1 : 0);
  });
});

describe('A limit of 0 that is resolved per request', () => {
  const start = async (options: RateLimitOptions, module = {}) => {
    @Controller()
    class Suspended {
      @RateLimit(() => ({ ...HOUR, ...options }))
      @Get()
      get() {}
    }
    return createApp('express', { imports: [RateLimitModule.forRoot(module)], controllers: [Suspended] });
  };

  it.each(['open', 'local', 'closed'] as const)('denies while the store is unavailable: %s', async (onStoreError) => {
    const app = await start({ maxRequest: 0, onStoreError }, { store: new BrokenStore() });
    for (let i = 0; i < 7; i++) await request(app.getHttpServer()).get('/').expect(429);
    await app.close();
  });

  it('is logged like any other rejection, and names the violated policy in problem details', async () => {
    const log = jest.spyOn(Logger.prototype, 'log').mockImplementation(() => {});
    const app = await start({ maxRequest: 0, name: 'suspended' }, { problemDetails: true });
    const { body } = await request(app.getHttpServer()).get('/').expect(429);
    expect(body).toMatchObject({ status: 429, 'violated-policies': ['suspended'] });
    await app.close();
    expect(log.mock.calls.flat()).toContain('Policy suspended rejected a request');
    log.mockRestore();
  });

  it.each<[RateLimitOptions, string]>([
    [{ maxRequest: 0 }, '`maxRequest` must be a positive whole number, got 0'],
    [{ maxRequest: Infinity }, '`maxRequest` must be a positive whole number, got Infinity'],
    [{ capacity: 0, refill: 1 }, '`capacity` must be a positive number, got 0'],
    [{ capacity: Infinity, refill: 1 }, '`capacity` must be at most 9007199254740.99, got Infinity'],
    [{ limits: [{ maxRequest: 0 }] }, 'limits[0]: `maxRequest` must be a positive whole number, got 0'],
  ])('is an error in a constant: %j', async (options, message) => {
    const starting = createApp('express', { imports: [RateLimitModule.forRoot({ policies: { constant: options } })] });
    await expect(starting).rejects.toThrow(
      new RateLimitOptionError(`Invalid RateLimitModule options: policies.constant: ${message}`),
    );
    const app = await createApp('express', { imports: [RateLimitModule.forRoot()] });
    expect(() => app.get(BucketService).bucket(options, 'key')).toThrow(new RateLimitOptionError(message));
    await app.close();
  });
});

describe('A limit of 0 on other transports', () => {
  const suspended = () => ({ ...HOUR, name: 'suspended', maxRequest: 0 });
  const exempt = () => ({ ...HOUR, name: 'exempt', maxRequest: Infinity });

  it.each(SERVERS)('denies a field of GraphQL without a time to retry: %s', async (server) => {
    @GraphqlResolver()
    class Things {
      @RateLimit(suspended)
      @Query(() => String)
      suspended() {
        return '';
      }

      @RateLimit({ ...HOUR, name: 'costly', maxRequest: 2, cost: () => 3 })
      @Query(() => String, { nullable: true })
      costly() {
        return '';
      }

      @RateLimit(exempt)
      @Query(() => String)
      exempt() {
        return 'exempt';
      }
    }
    const context = (req: unknown, reply: unknown) => ({ req, reply });
    const graphql = graphqlModule(server, server === 'Apollo on Fastify' ? { context } : {});
    const app = await createApp(adapterOf(server), {
      imports: [RateLimitModule.forRoot({ headers: ['draft-11', 'draft-6'] }), graphql],
      providers: [Things],
    });
    await app.listen(0, '127.0.0.1');
    const { body, headers } = await query(app, '{ exempt suspended }');
    expect(body.errors).toMatchObject([{ path: ['suspended'], extensions: { code: 'TOO_MANY_REQUESTS' } }]);
    expect(body.errors?.[0].extensions).not.toHaveProperty('retryAfter');
    expect([headers.ratelimit, headers['retry-after']]).toEqual(['"suspended";r=0', undefined]);
    // The limit with less remaining is reported, whichever field is executed first.
    for (const fields of ['suspended costly', 'costly suspended']) {
      const both = await query(app, `{ ${fields} }`);
      expect(both.headers['ratelimit-remaining']).toBe('0');
    }
    await app.close();
  });

  it('denies a message without a time to retry', async () => {
    @Controller()
    class Service {
      @RateLimit(suspended)
      @MessagePattern('suspended')
      suspended() {}

      @RateLimit(exempt)
      @MessagePattern('exempt')
      exempt() {
        return 'exempt';
      }
    }
    const app = await createApp('express', { imports: [RateLimitModule.forRoot()], controllers: [Service] });
    const options = { host: '127.0.0.1', port: await freePort() };
    app.connectMicroservice({ transport: Transport.TCP, options }, { inheritAppConfig: true });
    await app.startAllMicroservices();
    const client = ClientProxyFactory.create({ transport: Transport.TCP, options });
    const denied = lastValueFrom(client.send('suspended', {}));
    await expect(denied).rejects.toEqual({ status: 'error', message: 'Too Many Requests' });
    expect(await lastValueFrom(client.send('exempt', {}))).toBe('exempt');
    client.close();
    await app.close();
  });
});

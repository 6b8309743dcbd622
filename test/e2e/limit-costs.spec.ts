import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller, type ExecutionContext, Get, type INestApplication, Injectable, Query } from '@nestjs/common';
import { BucketService, type Outcome, RateLimit, RateLimitModule, type RateLimitOptions } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { COMBINATIONS, createApp } from '../support/create-app.js';
import { clockedStore, until } from '../support/requests.js';

interface Usage {
  readonly tokens: number;
  readonly cents: number;
}

const query = (context: ExecutionContext) =>
  context.switchToHttp().getRequest<{ query: Record<string, string> }>().query;
const usage = ({ value }: Outcome) => value as Usage | undefined;
let estimates = 0;

@Injectable()
class Estimate {
  resolve(context: ExecutionContext): number {
    estimates++;
    return Number(query(context).estimate ?? 500);
  }
}

const LIMITS: RateLimitOptions['limits'] = [
  { name: 'requests', capacity: 60, refill: 60, unit: 'minutes', cost: 1 },
  {
    name: 'tokens',
    capacity: 10_000,
    refill: 10_000,
    unit: 'minutes',
    cost: Estimate,
    settle: async (_context, outcome) => usage(outcome)?.tokens ?? 0,
  },
  {
    name: 'cents',
    maxRequest: 300,
    duration: 30,
    unit: 'days',
    cost: 0,
    settle: (_context, outcome) => usage(outcome)?.cents ?? 0,
  },
];
const POLICIES = {
  user: { limits: LIMITS, key: 'ada' },
  team: {
    capacity: 100_000,
    refill: 0,
    key: 'all',
    cost: Estimate,
    settle: (_: unknown, outcome: Outcome) => usage(outcome)?.tokens ?? 0,
  },
  failures: {
    key: 'all',
    settle: 'failures',
    limits: [
      { name: 'one', capacity: 9, refill: 0 },
      { name: 'two', capacity: 9, refill: 0, cost: 2 },
      { name: 'always', capacity: 9, refill: 0, settle: () => 3 },
    ],
  },
  measured: {
    key: 'all',
    cost: 2,
    settle: () => 4,
    limits: [
      { name: 'own', capacity: 9, refill: 0, cost: 1 },
      { name: 'inherited', capacity: 9, refill: 0 },
    ],
  },
  later: { key: 'all', capacity: 5, refill: 1, unit: 'hours', cost: 0, settle: () => 6 },
} satisfies Record<string, RateLimitOptions>;

@Controller()
class Model {
  @RateLimit('user')
  @RateLimit('team')
  @Get('complete')
  complete(@Query() { tokens, cents }: Record<string, string>): Usage {
    return { tokens: Number(tokens), cents: Number(cents) };
  }

  @RateLimit('failures')
  @Get('failures')
  failures() {}

  @RateLimit('measured')
  @Get('measured')
  measured() {}

  @RateLimit('later')
  @Get('later')
  later() {}
}

describe.each(COMBINATIONS)('Costs of each limit on $adapter with the $store store', ({ adapter, store }) => {
  const clock = new FakeClock();
  let app: INestApplication;
  beforeAll(async () => {
    app = await createApp(adapter, {
      imports: [RateLimitModule.forRoot({ ...clockedStore(store, clock), policies: POLICIES })],
      providers: [Estimate],
      controllers: [Model],
    });
  });
  afterAll(() => app.close());
  const get = (path: string) => request(app.getHttpServer()).get(path);
  const left = async (policy: keyof typeof POLICIES, key = 'all') => {
    const { limits } = await app.get(BucketService).bucket(policy, key).estimate(0.001);
    return limits.map(({ remaining }) => remaining);
  };
  const settled = (policy: keyof typeof POLICIES, expected: number[], key = 'all') =>
    until(async () => JSON.stringify(await left(policy, key)) === JSON.stringify(expected));

  it('are taken together, and settled separately', async () => {
    estimates = 0;
    const response = await get('/complete?tokens=1200&cents=2.5');
    expect(response.status).toBe(200);
    expect(response.headers.ratelimit).toMatch(
      /"user\/requests";r=59.*"user\/tokens";r=9500.*"user\/cents";r=300.*"team";r=99500/,
    );
    expect(estimates).toBe(2);
    // An estimate of 0.001 takes a thousandth of each.
    await settled('user', [58.999, 8799.999, 297.499], 'ada');
    await settled('team', [98_799.999]);
    await get('/complete?tokens=100&cents=0');
    await settled('user', [57.999, 8699.999, 297.499], 'ada');
    await settled('team', [98_699.999]);
  });

  it('leave out a limit whose cost is 0, and deny while a settled one has nothing left', async () => {
    await get('/complete?tokens=0&cents=400');
    // A denied estimate takes nothing.
    await settled('user', [57, 8700, 0], 'ada');
    const response = await get('/complete?tokens=1&cents=1');
    expect(response.status).toBe(429);
    expect(response.headers.ratelimit).toContain('"user/cents";r=0;t=');
    await settled('team', [98_699.999]);
    await clock.advance(30 * 86_400_000);
    expect((await get('/complete?tokens=9000&cents=1&estimate=0')).status).toBe(200);
    await settled('user', [58.999, 999.999, 298.999], 'ada');
  });

  it('are settled by the mode of the policy, unless the limit has another', async () => {
    await get('/failures');
    await settled('failures', [8.999, 8.999, 5.999]);
  });

  it('are not settled by a function of the policy if the limit has a cost of its own', async () => {
    await get('/measured');
    await settled('measured', [7.999, 4.999]);
  });

  it('admit requests of a policy with a cost of 0 as long as it has a balance', async () => {
    expect((await get('/later')).status).toBe(200);
    await until(async () => (await app.get(BucketService).bucket('later', 'all').available()) === -1);
    expect((await get('/later')).headers['retry-after']).toBe('3604');
    await clock.advance(3_603_600);
    expect((await get('/later')).status).toBe(200);
  });
});

import { type ClientRequest, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication, Res, Sse, StreamableFile } from '@nestjs/common';
import {
  BucketService,
  type Decision,
  RateLimit,
  RateLimitDecision,
  RateLimitModule,
  type RateLimitOptions,
  ReportCost,
  SkipRateLimit,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { from, map } from 'rxjs';
import request from 'supertest';
import { COMBINATIONS, createApp } from '../support/create-app.js';
import { clockedStore, until } from '../support/requests.js';

const BUDGET = { capacity: 1000, refill: 0, cost: 100 } as const;
const POLICIES = {
  single: BUDGET,
  uncounted: { capacity: 1000, refill: 0 },
  settled: { ...BUDGET, settle: 'successes' },
  user: {
    limits: [
      { name: 'requests', maxRequest: 60, unit: 'minutes' },
      { ...BUDGET, name: 'tokens' },
      { capacity: 500, refill: 0, cost: 0, name: 'cents' },
    ],
  },
  team: { limits: [{ ...BUDGET, name: 'tokens' }] },
  streamed: BUDGET,
  early: BUDGET,
  late: BUDGET,
  default: BUDGET,
} satisfies Record<string, RateLimitOptions>;

interface RawResponse {
  readonly raw?: RawResponse;
  readonly destroyed: boolean;
  write(text: string): void;
  end(text?: string): void;
}

let decision: Decision | undefined;
let report: ReportCost = () => {};
let release = () => {};
const released = () =>
  new Promise<void>((resolve) => {
    release = resolve;
  });

/** The total that the last stream has reported. */
let total = 0;
let isEnded = false;

/** Reports 50 more with each of its values, until its consumer ends it. */
async function* growing(cost: ReportCost) {
  isEnded = false;
  try {
    for (total = 50; ; total += 50) {
      cost(total);
      yield `${total};`;
      await released();
    }
  } finally {
    isEnded = true;
  }
}

@Controller()
class Resource {
  @RateLimit('single')
  @Get('single')
  single(@RateLimitDecision() given: Decision | undefined, @ReportCost() cost: ReportCost) {
    decision = given;
    cost(5);
    cost(30);
  }

  @RateLimit('single')
  @Get('unreported')
  unreported(@ReportCost() _: ReportCost) {}

  @RateLimit('settled')
  @Get('settled')
  settled(@ReportCost() cost: ReportCost) {
    cost(7.5);
    throw new Error('failed');
  }

  @RateLimit('uncounted')
  @Get('uncounted')
  uncounted(@ReportCost() cost: ReportCost) {
    cost(8);
  }

  @RateLimit('user')
  @RateLimit('team')
  @Get('named')
  named(@ReportCost() cost: ReportCost) {
    cost(250, 'tokens');
    cost(3, 'user/cents');
  }

  @RateLimit('user')
  @RateLimit('team')
  @Get('unnamed')
  unnamed(@ReportCost() cost: ReportCost) {
    cost(40);
  }

  @RateLimit('user')
  @Get('wrong')
  wrong(@ReportCost() cost: ReportCost) {
    report = cost;
  }

  @SkipRateLimit()
  @Get('unlimited')
  unlimited(@RateLimitDecision() given: Decision | undefined, @ReportCost() cost: ReportCost) {
    decision = given;
    cost(30);
  }

  @Get('default')
  byDefault(@RateLimitDecision() given: Decision | undefined, @ReportCost() cost: ReportCost) {
    decision = given;
    cost(900);
  }

  @RateLimit('streamed')
  @Get('file')
  file(@ReportCost() cost: ReportCost) {
    return new StreamableFile(Readable.from(growing(cost), { objectMode: false }));
  }

  @RateLimit('streamed')
  @Get('web')
  web(@ReportCost() cost: ReportCost) {
    return new StreamableFile(Readable.fromWeb(ReadableStream.from(growing(cost))));
  }

  @RateLimit('streamed')
  @Sse('events')
  events(@ReportCost() cost: ReportCost) {
    return from(growing(cost)).pipe(map((data) => ({ data })));
  }

  @RateLimit('streamed')
  @Get('raw')
  async raw(@Res() response: RawResponse, @ReportCost() cost: ReportCost) {
    const raw = response.raw ?? response;
    for await (const text of growing(cost)) {
      if (raw.destroyed) break;
      raw.write(text);
    }
  }

  @RateLimit('early')
  @Get('early')
  async early(@Res() response: RawResponse, @ReportCost() cost: ReportCost) {
    (response.raw ?? response).end();
    await released();
    cost(20);
  }

  @RateLimit('late')
  @Get('late')
  late(@ReportCost() cost: ReportCost) {
    report = cost;
  }
}

describe.each(COMBINATIONS)('@ReportCost on $adapter with the $store store', ({ adapter, store }) => {
  const clock = new FakeClock();
  let app: INestApplication;
  let port: number;
  beforeAll(async () => {
    const { default: byDefault, ...policies } = POLICIES;
    app = await createApp(adapter, {
      imports: [
        RateLimitModule.forRoot({
          ...clockedStore(store, clock),
          key: 'all',
          policies,
          default: { ...byDefault, name: 'default' },
        }),
      ],
      controllers: [Resource],
    });
    await app.listen(0, '127.0.0.1');
    port = (app.getHttpServer().address() as AddressInfo).port;
  });
  beforeEach(async () => {
    decision = undefined;
    const buckets = app.get(BucketService);
    for (const name of Object.keys(POLICIES)) if (name !== 'default') await buckets.bucket(name, 'all').reset();
  });
  afterAll(() => app.close());
  const status = async (path: string) => (await request(app.getHttpServer()).get(path)).status;
  const bucket = (name: keyof typeof POLICIES) =>
    app
      .get(BucketService)
      .bucket(name === 'default' ? ({ ...POLICIES.default, cost: undefined, name } as never) : name, 'all');
  const available = (name: keyof typeof POLICIES) => bucket(name).available();
  const settled = (name: keyof typeof POLICIES, tokens: number) =>
    until(async () => (await available(name)) === tokens);
  const limits = async (name: keyof typeof POLICIES) =>
    (await bucket(name).estimate(0.001)).limits.map(({ remaining }) => Math.ceil(remaining));
  const call = (path: string): ClientRequest => get({ port, path, agent: false }).on('error', () => {});

  it('replaces the estimate by the last total that was reported', async () => {
    expect(await status('/single')).toBe(200);
    await settled('single', 970);
  });

  it('injects the decision that admitted the request', async () => {
    await status('/single');
    expect(decision).toMatchObject({ allowed: true, policy: 'single', limit: 1000, remaining: 900 });
  });

  it('keeps the estimate if nothing was reported', async () => {
    await status('/unreported');
    await new Promise(setImmediate);
    expect(await available('single')).toBe(900);
  });

  it('takes precedence over settle', async () => {
    expect(await status('/settled')).toBe(500);
    await settled('settled', 992.5);
  });

  it('is about the only limit, if no limit has a cost', async () => {
    await status('/uncounted');
    await settled('uncounted', 992);
  });

  it('reports the cost of all limits with a name', async () => {
    await status('/named');
    await until(async () => JSON.stringify(await limits('user')) === '[59,750,497]');
    expect(await limits('team')).toEqual([750]);
  });

  it('reports the cost of all limits with a cost, if it has no name', async () => {
    await status('/unnamed');
    await until(async () => JSON.stringify(await limits('user')) === '[59,960,460]');
    expect(await limits('team')).toEqual([960]);
  });

  it('throws for an invalid total and for an unknown limit', async () => {
    await status('/wrong');
    expect(() => report(Number.NaN)).toThrow(new RangeError('tokens must be a number of at least 0, got NaN'));
    expect(() => report(-1, 'tokens')).toThrow(new RangeError('tokens must be a number of at least 0, got -1'));
    expect(() => report(1, 'token')).toThrow(
      new RangeError(
        "limit must be one of requests, user, user/requests, tokens, user/tokens, cents, user/cents, got 'token'",
      ),
    );
  });

  it('does nothing, and injects no decision, on a handler without a limit', async () => {
    expect(await status('/unlimited')).toBe(200);
    expect(decision).toBeUndefined();
  });

  it('works with the default of the module', async () => {
    expect(await status('/default')).toBe(200);
    expect(decision).toMatchObject({ policy: 'default' });
    await until(async () => (await status('/default')) === 429);
  });

  it.each(['file', 'web', 'events', 'raw'])(
    'settles what a stream has reported whose client disconnects: %s',
    async (path) => {
      const client = call(`/${path}`);
      let text = '';
      client.on('response', (response) => {
        response.on('error', () => {});
        response.on('data', (chunk) => {
          text += chunk;
        });
      });
      for (const value of ['50;', '100;', '150;']) {
        await until(() => text.includes(value));
        expect(await available('streamed')).toBe(900);
        release();
      }
      client.destroy();
      await until(() => {
        release();
        return isEnded;
      });
      expect(total).toBeGreaterThanOrEqual(150);
      await settled('streamed', 1000 - total);
    },
  );

  it('waits for a handler that outlasts its response', async () => {
    await status('/early');
    await new Promise(setImmediate);
    expect(await available('early')).toBe(900);
    release();
    await settled('early', 980);
  });

  it('charges increases that are reported after the end, and ignores decreases', async () => {
    await status('/late');
    await until(async () => (await available('late')) === 900);
    report(130);
    await settled('late', 870);
    report(10);
    report(131);
    report(140);
    await settled('late', 860);
  });
});

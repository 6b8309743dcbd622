import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication, Query, UnauthorizedException } from '@nestjs/common';
import { RateLimit, RateLimitModule, RateLimitStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { settlementsDone } from '../../src/guard/settle-cost.js';
import { COMBINATIONS, createApp } from '../support/create-app.js';
import { clockedStore, until } from '../support/requests.js';

const HOUR = 3_600_000;
const WINDOW = { maxRequest: 5, unit: 'hours' } as const;
const BUCKET = { capacity: 5, refill: 5, unit: 'hours' } as const;

/** Handlers that wait for `releaseAll`. */
const held: (() => void)[] = [];

async function login(ok?: string, slow?: string): Promise<void> {
  if (slow) await new Promise<void>((resolve) => held.push(resolve));
  if (!ok) throw new UnauthorizedException();
}

@Controller()
class Login {
  @RateLimit({ ...WINDOW, settle: 'failures' })
  @Get('window')
  window(@Query('ok') ok?: string, @Query('slow') slow?: string) {
    return login(ok, slow);
  }

  @RateLimit({ ...BUCKET, settle: 'failures' })
  @Get('bucket')
  bucket(@Query('ok') ok?: string, @Query('slow') slow?: string) {
    return login(ok, slow);
  }

  @RateLimit({ limits: [WINDOW, BUCKET], settle: 'failures' })
  @Get('both')
  both(@Query('ok') ok?: string, @Query('slow') slow?: string) {
    return login(ok, slow);
  }
}

describe.each(COMBINATIONS)('refunds on $adapter with the $store store', ({ adapter, store }) => {
  const clock = new FakeClock();
  let app: INestApplication;
  beforeAll(async () => {
    app = await createApp(adapter, {
      imports: [RateLimitModule.forRoot({ ...clockedStore(store, clock), key: 'all' })],
      controllers: [Login],
    });
    await app.listen(0, '127.0.0.1');
  });
  beforeEach(() => clock.advance(10 * HOUR));
  afterAll(() => app.close());

  const get = async (path: string) => (await request(app.getHttpServer()).get(path)).status;
  /** Sends `count` successful log-ins whose handlers wait; returns how to let them succeed. */
  const holdSuccesses = async (limit: string, count: number) => {
    const answers = Array.from({ length: count }, () => get(`/${limit}?ok=1&slow=1`));
    await until(() => held.length === count);
    return async () => {
      for (const release of held.splice(0)) release();
      expect(await Promise.all(answers)).toEqual(Array(count).fill(200));
      await settlementsDone(app.get(RateLimitStore, { strict: false }));
    };
  };
  const failures = async (limit: string, count: number) => {
    const statuses: number[] = [];
    for (let i = 0; i < count; i++) statuses.push(await get(`/${limit}`));
    return statuses;
  };

  it.each(['window', 'bucket', 'both'])('cannot be saved up for later failures: %s', async (limit) => {
    const finish = await holdSuccesses(limit, 5);
    await clock.advance(HOUR);
    expect(await failures(limit, 6)).toEqual([401, 401, 401, 401, 401, 429]);
    await finish();
    expect(await failures(limit, 2)).toEqual([429, 429]);
  });

  it.each(['window', 'bucket', 'both'])('make room for as many failures while they still count: %s', async (limit) => {
    const finish = await holdSuccesses(limit, 3);
    expect(await failures(limit, 3)).toEqual([401, 401, 429]);
    await finish();
    expect(await failures(limit, 4)).toEqual([401, 401, 401, 429]);
  });

  it('return the own admission to a window, and not the newest one', async () => {
    const finish = await holdSuccesses('window', 4);
    await clock.advance(HOUR / 2);
    expect(await failures('window', 1)).toEqual([401]);
    await finish();
    await clock.advance(HOUR / 2);
    // The failure still counts for half an hour.
    expect(await failures('window', 5)).toEqual([401, 401, 401, 401, 429]);
  });

  it.each(['bucket', 'both'])('give no credit for what a full bucket would have lost: %s', async (limit) => {
    const finish = await holdSuccesses(limit, 5);
    await clock.advance(HOUR / 5);
    // One token has come back, and two more follow; without the five, the bucket would be full.
    await finish();
    expect(await failures(limit, 6)).toEqual([401, 401, 401, 401, 401, 429]);
  });
});

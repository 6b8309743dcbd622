import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication } from '@nestjs/common';
import { type Decision, RateLimit, RateLimitDecision, RateLimitModule, type RateLimitOptions } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { COMBINATIONS, createApp } from '../support/create-app.js';
import { clockedStore } from '../support/requests.js';

const POLICIES = {
  plan: {
    key: 'ada',
    limits: [
      { name: 'included', capacity: 2, refill: 1, unit: 'hours', soft: true },
      { name: 'rate', capacity: 4, refill: 1, unit: 'minutes' },
    ],
  },
  alone: { key: 'ada', maxRequest: 1, unit: 'hours', soft: true, maxWait: '1m', block: '1h' },
} satisfies Record<string, RateLimitOptions>;

@Controller()
class Assistant {
  @RateLimit('plan')
  @Get('answer')
  answer(@RateLimitDecision() decision: Decision | undefined) {
    return { model: decision?.exceeded?.includes('plan/included') ? 'small' : 'large' };
  }

  @RateLimit('alone')
  @Get('preview')
  preview(@RateLimitDecision() decision: Decision | undefined) {
    return { exceeded: decision?.exceeded ?? 'nothing' };
  }
}

describe.each(COMBINATIONS)('Soft limits on $adapter with the $store store', ({ adapter, store }) => {
  let app: INestApplication;
  beforeAll(async () => {
    app = await createApp(adapter, {
      imports: [
        RateLimitModule.forRoot({
          ...clockedStore(store, new FakeClock()),
          policies: POLICIES,
          headers: ['draft-11', 'draft-6'],
        }),
      ],
      controllers: [Assistant],
    });
  });
  afterAll(() => app.close());
  const get = (path: string) => request(app.getHttpServer()).get(path);

  it('let the handler do less, until another limit rejects the request', async () => {
    const answers: string[] = [];
    for (let i = 0; i < 4; i++) {
      const { status, body, headers } = await get('/answer');
      answers.push(`${status} ${body.model} ${headers['ratelimit-remaining']} ${headers.ratelimit}`);
      expect(headers['retry-after']).toBeUndefined();
    }
    expect(answers).toEqual([
      '200 large 3 "plan/included";r=1;t=3600, "plan/rate";r=3;t=60',
      '200 large 2 "plan/included";r=0;t=3600, "plan/rate";r=2;t=60',
      '200 small 1 "plan/included";r=0;t=3600, "plan/rate";r=1;t=60',
      '200 small 0 "plan/included";r=0;t=3600, "plan/rate";r=0;t=60',
    ]);
    const { status, headers } = await get('/answer');
    expect([status, headers['retry-after'], headers['ratelimit-limit']]).toEqual([429, '60', '4']);
  });

  it('reject, queue and block nothing on their own', async () => {
    const answers: unknown[] = [];
    for (let i = 0; i < 4; i++) {
      const { status, body, headers } = await get('/preview');
      answers.push([status, body.exceeded, headers['ratelimit-remaining']]);
    }
    expect(answers).toEqual([[200, 'nothing', '0'], ...new Array(3).fill([200, ['alone'], '0'])]);
  });
});

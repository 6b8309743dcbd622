import { get, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication } from '@nestjs/common';
import { MemoryStore, RateLimit, RateLimitModule, type RateLimitModuleOptions } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { parseItem, parseList } from 'structured-headers';
import request from 'supertest';
import { BrokenStore } from '../support/broken-store.js';
import { ADAPTERS, createApp } from '../support/create-app.js';

@Controller()
class Sms {
  @RateLimit({ capacity: 20, refill: 10, unit: 'minute' })
  @Get('bucket')
  bucket() {}

  @RateLimit({ maxRequest: 2, duration: 10 })
  @Get('window')
  window() {}

  @RateLimit({ duration: 1, unit: 'minute', maxRequest: 3, capacity: 2, refill: 1 })
  @Get('both')
  both() {}

  @RateLimit('house')
  @RateLimit({
    limits: [
      { name: 'burst', capacity: 2, refill: 1 },
      { name: 'day', maxRequest: 9, unit: 'day' },
    ],
  })
  @RateLimit({ capacity: 2.5, refill: 0.5, duration: 400, unit: 'milliseconds', name: 'fraction' })
  @Get('several')
  several() {}

  @RateLimit({ maxRequest: 1, duration: 500, unit: 'milliseconds' })
  @Get('short')
  short() {}

  @RateLimit({ capacity: 1, refill: 0 })
  @Get('never')
  never() {}

  @RateLimit({ capacity: 2, refill: 2, refillMode: 'intervally', unit: 'hour' })
  @Get('fixed')
  fixed() {}

  @RateLimit({ maxRequest: 1, name: 'say "hi" \\ bye; a=1, b' })
  @Get('quoted')
  quoted() {}

  @RateLimit({
    limits: [
      { maxRequest: 1, duration: 2 },
      { maxRequest: 5, unit: 'days' },
    ],
  })
  @Get('burst')
  burst() {}

  @RateLimit({ maxRequest: 1, unit: 'hour', name: 'hour' })
  @RateLimit({ maxRequest: 1, unit: 'minute', name: 'minute' })
  @Get('longest')
  longest() {}
}

function expectWhole(value: unknown, least: number): void {
  expect(Number.isInteger(value)).toBe(true);
  expect(value).toBeGreaterThanOrEqual(least);
}

describe.each(ADAPTERS)('on %s', (adapter) => {
  const clock = new FakeClock();
  let app: INestApplication;
  afterEach(() => app.close());

  const start = async (options: RateLimitModuleOptions = {}) => {
    const policies = { house: { capacity: 1000, refill: 1000, unit: 'hour' } } as const;
    app = await createApp(adapter, {
      imports: [RateLimitModule.forRoot({ store: new MemoryStore({ clock }), policies, ...options })],
      controllers: [Sms],
    });
  };
  const ours = async (path: string) => {
    const { headers } = await request(app.getHttpServer()).get(path);
    return Object.fromEntries(Object.entries(headers).filter(([name]) => /ratelimit|retry/.test(name)));
  };

  it('tells of a bucket', async () => {
    await start();
    expect(await ours('/bucket')).toEqual({
      'ratelimit-policy': '"Sms.bucket";q=20;w=120',
      ratelimit: '"Sms.bucket";r=19;t=6',
    });
    for (let i = 0; i < 19; i++) await ours('/bucket');
    await clock.advance(2500);
    expect(await ours('/bucket')).toEqual({
      'ratelimit-policy': '"Sms.bucket";q=20;w=120',
      ratelimit: '"Sms.bucket";r=0;t=4',
      'retry-after': '4',
    });
    await clock.advance(120_000);
    expect((await ours('/bucket')).ratelimit).toBe('"Sms.bucket";r=19;t=6');
  });

  it('tells of a window', async () => {
    await start();
    await ours('/window');
    await clock.advance(3000);
    expect((await ours('/window')).ratelimit).toBe('"Sms.window";r=0;t=7');
    await clock.advance(6001);
    expect(await ours('/window')).toEqual({
      'ratelimit-policy': '"Sms.window";q=2;w=10',
      ratelimit: '"Sms.window";r=0;t=1',
      'retry-after': '1',
    });
  });

  it('tells of each of several limits and policies in one list', async () => {
    await start();
    expect(await ours('/both')).toEqual({
      'ratelimit-policy': '"Sms.both/window";q=3;w=60, "Sms.both/bucket";q=2;w=120',
      ratelimit: '"Sms.both/window";r=2;t=60, "Sms.both/bucket";r=1;t=60',
    });
    const headers = await ours('/several');
    expect(headers['ratelimit-policy']).toBe(
      '"house";q=1000;w=3600, "Sms.several-2/burst";q=2;w=2, "Sms.several-2/day";q=9;w=86400, "fraction";q=2;w=2',
    );
    expect(headers.ratelimit).toBe(
      '"house";r=999;t=4, "Sms.several-2/burst";r=1;t=1, "Sms.several-2/day";r=8;t=86400, "fraction";r=1;t=1',
    );
    const items = parseList(headers.ratelimit).map(([name, parameters]) => [name, Object.fromEntries(parameters)]);
    expect(items).toEqual([
      ['house', { r: 999, t: 4 }],
      ['Sms.several-2/burst', { r: 1, t: 1 }],
      ['Sms.several-2/day', { r: 8, t: 86400 }],
      ['fraction', { r: 1, t: 1 }],
    ]);
    const policies = parseList(headers['ratelimit-policy']);
    expect(policies.map(([name]) => name)).toEqual(items.map(([name]) => name));
  });

  it('leaves the window out below a second, and still says to come again in one', async () => {
    await start();
    expect(await ours('/short')).toEqual({ 'ratelimit-policy': '"Sms.short";q=1', ratelimit: '"Sms.short";r=0;t=1' });
    expect((await ours('/short'))['retry-after']).toBe('1');
  });

  it('tells no time where no retry can ever pass', async () => {
    await start();
    await ours('/never');
    expect(await ours('/never')).toEqual({ 'ratelimit-policy': '"Sms.never";q=1', ratelimit: '"Sms.never";r=0' });
  });

  it('tells of the next boundary where a bucket is filled at intervals', async () => {
    await start();
    await ours('/fixed');
    await ours('/fixed');
    const left = 3600 - (Math.floor(clock.now() / 1000) % 3600);
    expect((await ours('/fixed'))['retry-after']).toBe(`${left}`);
  });

  it('escapes quotes and backslashes of names, so that they can be read back', async () => {
    await start();
    const headers = await ours('/quoted');
    expect(headers.ratelimit).toBe('"say \\"hi\\" \\\\ bye; a=1, b";r=0;t=1');
    for (const name of ['ratelimit', 'ratelimit-policy']) {
      expect(parseList(headers[name]).map(([item]) => item)).toEqual(['say "hi" \\ bye; a=1, b']);
    }
  });

  it('says to come again when the last of all limits lets pass', async () => {
    await start();
    await ours('/longest');
    expect((await ours('/longest'))['retry-after']).toBe('3600');
    await clock.advance(60_000);
    expect(await ours('/longest')).toEqual({
      'ratelimit-policy': '"hour";q=1;w=3600, "minute";q=1;w=60',
      ratelimit: '"hour";r=0;t=3540, "minute";r=1',
      'retry-after': '3540',
    });
  });

  it('tells of draft 6', async () => {
    await start({ headers: 'draft-6' });
    const headers = { 'ratelimit-limit': '20', 'ratelimit-remaining': '19', 'ratelimit-reset': '6' };
    expect(await ours('/bucket')).toEqual(headers);
    await ours('/never');
    expect(await ours('/never')).toEqual({ 'ratelimit-limit': '1', 'ratelimit-remaining': '0' });
  });

  it('tells the legacy headers', async () => {
    await start({ headers: ['legacy'] });
    expect(await ours('/window')).toEqual({
      'x-ratelimit-limit': '2',
      'x-ratelimit-remaining': '1',
      'x-ratelimit-reset': '10',
    });
    await ours('/window');
    expect((await ours('/window'))['retry-after']).toBe('10');
  });

  it('tells all three of the same limit, though another one is longer in filling', async () => {
    await start({ headers: 'legacy' });
    expect(await ours('/burst')).toEqual({
      'x-ratelimit-limit': '1',
      'x-ratelimit-remaining': '0',
      'x-ratelimit-reset': '2',
    });
  });

  it('tells several sets at once, of several limits the one nearest to exhaustion', async () => {
    await start({ headers: ['legacy', 'draft-11', 'draft-6', 'legacy'] });
    expect(await ours('/both')).toEqual({
      'ratelimit-policy': '"Sms.both/window";q=3;w=60, "Sms.both/bucket";q=2;w=120',
      ratelimit: '"Sms.both/window";r=2;t=60, "Sms.both/bucket";r=1;t=60',
      'ratelimit-limit': '2',
      'ratelimit-remaining': '1',
      'ratelimit-reset': '60',
      'x-ratelimit-limit': '2',
      'x-ratelimit-remaining': '1',
      'x-ratelimit-reset': '60',
    });
  });

  it.each(['bucket', 'window', 'both', 'several', 'short', 'never', 'fixed', 'quoted', 'longest'])(
    'writes structured fields of whole numbers in every set: /%s',
    async (path) => {
      await start({ headers: ['draft-11', 'draft-6', 'legacy'] });
      const least = { q: 1, w: 1, r: 0, t: 1 };
      for (let call = 0; call < 4; call++) {
        const { ratelimit, 'ratelimit-policy': policy, ...others } = await ours(`/${path}`);
        for (const [name, parameters] of [...parseList(policy), ...parseList(ratelimit)]) {
          expect(typeof name).toBe('string');
          expect([...parameters.keys()].join()).toMatch(/^(q(,w)?|r(,t)?)$/);
          for (const [key, value] of parameters) expectWhole(value, least[key as keyof typeof least]);
        }
        expect(Object.keys(others).length).toBeGreaterThanOrEqual(4);
        for (const [name, value] of Object.entries(others))
          expectWhole(parseItem(value)[0], name === 'retry-after' ? 1 : 0);
      }
    },
  );

  it.each([false, []] as const)('tells nothing but Retry-After with headers: %j', async (headers) => {
    await start({ headers });
    await ours('/window');
    expect(await ours('/window')).toEqual({});
    expect(await ours('/window')).toEqual({ 'retry-after': '10' });
  });

  it.each([undefined, 'draft-6', 'legacy'] as const)(
    'tells nothing with headers: %s where the failure mode lets pass, and nobody has counted',
    async (headers) => {
      await start({ store: new BrokenStore(), failure: { mode: 'open' }, headers });
      expect((await request(app.getHttpServer()).get('/bucket')).status).toBe(200);
      expect(await ours('/bucket')).toEqual({});
      expect(await ours('/several')).toEqual({});
    },
  );

  it('sets each header once', async () => {
    await start();
    await ours('/longest');
    const address = app.getHttpServer().listen(0).address() as AddressInfo;
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      get({ port: address.port, path: '/longest', agent: false }, resolve).on('error', reject);
    });
    answer.resume();
    const names = answer.rawHeaders.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase());
    expect(names.filter((name) => /ratelimit|retry/.test(name)).sort()).toEqual([
      'ratelimit',
      'ratelimit-policy',
      'retry-after',
    ]);
  });
});

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

  @RateLimit({ capacity: 100, calendar: 'year', timeZone: 'Europe/Berlin' })
  @Get('quota')
  quota() {}

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

function expectInteger(value: unknown, least: number): void {
  expect(Number.isInteger(value)).toBe(true);
  expect(value).toBeGreaterThanOrEqual(least);
}

describe.each(ADAPTERS)('Option `headers` on %s', (adapter) => {
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
  const limitHeaders = async (path: string) => {
    const { headers } = await request(app.getHttpServer()).get(path);
    return Object.fromEntries(Object.entries(headers).filter(([name]) => /ratelimit|retry/.test(name)));
  };

  it('reports a token bucket', async () => {
    await start();
    expect(await limitHeaders('/bucket')).toEqual({
      'ratelimit-policy': '"Sms.bucket";q=20;w=120',
      ratelimit: '"Sms.bucket";r=19;t=6',
    });
    for (let i = 0; i < 19; i++) await limitHeaders('/bucket');
    await clock.advance(2500);
    expect(await limitHeaders('/bucket')).toEqual({
      'ratelimit-policy': '"Sms.bucket";q=20;w=120',
      ratelimit: '"Sms.bucket";r=0;t=4',
      'retry-after': '4',
    });
    await clock.advance(120_000);
    expect((await limitHeaders('/bucket')).ratelimit).toBe('"Sms.bucket";r=19;t=6');
  });

  it('reports a sliding window', async () => {
    await start();
    await limitHeaders('/window');
    await clock.advance(3000);
    expect((await limitHeaders('/window')).ratelimit).toBe('"Sms.window";r=0;t=7');
    await clock.advance(6001);
    expect(await limitHeaders('/window')).toEqual({
      'ratelimit-policy': '"Sms.window";q=2;w=10',
      ratelimit: '"Sms.window";r=0;t=1',
      'retry-after': '1',
    });
  });

  it('reports several limits and policies in one list', async () => {
    await start();
    expect(await limitHeaders('/both')).toEqual({
      'ratelimit-policy': '"Sms.both/window";q=3;w=60, "Sms.both/bucket";q=2;w=120',
      ratelimit: '"Sms.both/window";r=2;t=60, "Sms.both/bucket";r=1;t=60',
    });
    const headers = await limitHeaders('/several');
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

  it('omits a window below one second, and sets Retry-After to 1', async () => {
    await start();
    expect(await limitHeaders('/short')).toEqual({
      'ratelimit-policy': '"Sms.short";q=1',
      ratelimit: '"Sms.short";r=0;t=1',
    });
    expect((await limitHeaders('/short'))['retry-after']).toBe('1');
  });

  it('omits all times if no retry can succeed', async () => {
    await start();
    await limitHeaders('/never');
    expect(await limitHeaders('/never')).toEqual({
      'ratelimit-policy': '"Sms.never";q=1',
      ratelimit: '"Sms.never";r=0',
    });
  });

  it('reports the next boundary of a bucket that is refilled at intervals', async () => {
    await start();
    await limitHeaders('/fixed');
    await limitHeaders('/fixed');
    const secondsLeft = 3600 - (Math.floor(clock.now() / 1000) % 3600);
    expect((await limitHeaders('/fixed'))['retry-after']).toBe(`${secondsLeft}`);
  });

  it('reports when the period of a calendar quota ends, but not its length', async () => {
    await start();
    const left = Math.ceil((Date.parse('2027-12-31T23:00Z') - clock.now()) / 1000);
    expect(await limitHeaders('/quota')).toEqual({
      'ratelimit-policy': '"Sms.quota";q=100',
      ratelimit: `"Sms.quota";r=99;t=${left}`,
    });
    for (let i = 0; i < 99; i++) await limitHeaders('/quota');
    expect(await limitHeaders('/quota')).toEqual({
      'ratelimit-policy': '"Sms.quota";q=100',
      ratelimit: `"Sms.quota";r=0;t=${left}`,
      'retry-after': `${left}`,
    });
  });

  it('escapes quotes and backslashes in names so that parsers restore them', async () => {
    await start();
    const headers = await limitHeaders('/quoted');
    expect(headers.ratelimit).toBe('"say \\"hi\\" \\\\ bye; a=1, b";r=0;t=1');
    for (const name of ['ratelimit', 'ratelimit-policy']) {
      expect(parseList(headers[name]).map(([item]) => item)).toEqual(['say "hi" \\ bye; a=1, b']);
    }
  });

  it('sets Retry-After to the time at which every limit allows the request', async () => {
    await start();
    await limitHeaders('/longest');
    expect((await limitHeaders('/longest'))['retry-after']).toBe('3600');
    await clock.advance(60_000);
    expect(await limitHeaders('/longest')).toEqual({
      'ratelimit-policy': '"hour";q=1;w=3600, "minute";q=1;w=60',
      ratelimit: '"hour";r=0;t=3540, "minute";r=1',
      'retry-after': '3540',
    });
  });

  it('writes the headers of draft 6', async () => {
    await start({ headers: 'draft-6' });
    const headers = { 'ratelimit-limit': '20', 'ratelimit-remaining': '19', 'ratelimit-reset': '6' };
    expect(await limitHeaders('/bucket')).toEqual(headers);
    await limitHeaders('/never');
    expect(await limitHeaders('/never')).toEqual({ 'ratelimit-limit': '1', 'ratelimit-remaining': '0' });
  });

  it('writes the legacy headers', async () => {
    await start({ headers: ['legacy'] });
    expect(await limitHeaders('/window')).toEqual({
      'x-ratelimit-limit': '2',
      'x-ratelimit-remaining': '1',
      'x-ratelimit-reset': '10',
    });
    await limitHeaders('/window');
    expect((await limitHeaders('/window'))['retry-after']).toBe('10');
  });

  it('reports the same limit in all three headers, even if another one refills later', async () => {
    await start({ headers: 'legacy' });
    expect(await limitHeaders('/burst')).toEqual({
      'x-ratelimit-limit': '1',
      'x-ratelimit-remaining': '0',
      'x-ratelimit-reset': '2',
    });
  });

  it('writes several sets, of which draft-6 and legacy report the limit nearest to exhaustion', async () => {
    await start({ headers: ['legacy', 'draft-11', 'draft-6', 'legacy'] });
    expect(await limitHeaders('/both')).toEqual({
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

  it.each(['bucket', 'window', 'both', 'several', 'short', 'never', 'fixed', 'quota', 'quoted', 'longest'])(
    'writes structured fields with integers in every set: /%s',
    async (path) => {
      await start({ headers: ['draft-11', 'draft-6', 'legacy'] });
      const least = { q: 1, w: 1, r: 0, t: 1 };
      for (let call = 0; call < 4; call++) {
        const { ratelimit, 'ratelimit-policy': policy, ...others } = await limitHeaders(`/${path}`);
        for (const [name, parameters] of [...parseList(policy), ...parseList(ratelimit)]) {
          expect(typeof name).toBe('string');
          expect([...parameters.keys()].join()).toMatch(/^(q(,w)?|r(,t)?)$/);
          for (const [key, value] of parameters) expectInteger(value, least[key as keyof typeof least]);
        }
        expect(Object.keys(others).length).toBeGreaterThanOrEqual(4);
        for (const [name, value] of Object.entries(others))
          expectInteger(parseItem(value)[0], name === 'retry-after' ? 1 : 0);
      }
    },
  );

  it.each([false, []] as const)('writes only Retry-After with headers: %j', async (headers) => {
    await start({ headers });
    await limitHeaders('/window');
    expect(await limitHeaders('/window')).toEqual({});
    expect(await limitHeaders('/window')).toEqual({ 'retry-after': '10' });
  });

  it.each([undefined, 'draft-6', 'legacy'] as const)(
    'writes nothing with headers: %s if the failure mode allows a request uncounted',
    async (headers) => {
      await start({ store: new BrokenStore(), failure: { mode: 'open' }, headers });
      expect((await request(app.getHttpServer()).get('/bucket')).status).toBe(200);
      expect(await limitHeaders('/bucket')).toEqual({});
      expect(await limitHeaders('/several')).toEqual({});
    },
  );

  it('writes each header once', async () => {
    await start();
    await limitHeaders('/longest');
    const address = app.getHttpServer().listen(0).address() as AddressInfo;
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      get({ port: address.port, path: '/longest', agent: false }, resolve).on('error', reject);
    });
    response.resume();
    const names = response.rawHeaders.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase());
    expect(names.filter((name) => /ratelimit|retry/.test(name)).sort()).toEqual([
      'ratelimit',
      'ratelimit-policy',
      'retry-after',
    ]);
  });
});

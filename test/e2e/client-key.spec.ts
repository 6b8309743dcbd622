import { describe, expect, it } from '@jest/globals';
import { Controller, Get, Req } from '@nestjs/common';
import { BucketService, byIp, fromAddresses, MemoryStore, RateLimit, RateLimitModule } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { ADAPTERS, createApp } from '../support/create-app.js';

const TWO = { maxRequest: 2, unit: 'hour', name: 'two' } as const;

@Controller()
class Resource {
  @RateLimit(TWO)
  @Get()
  get() {}
}

describe.each(ADAPTERS)('Default key on %s', (adapter) => {
  const metadata = (store = new MemoryStore({ clock: new FakeClock() })) => ({
    imports: [RateLimitModule.forRoot({ store })],
    controllers: [Resource],
  });

  it('is the address of the connection, whatever X-Forwarded-For contains', async () => {
    const app = await createApp(adapter, metadata());
    const statuses: number[] = [];
    for (const address of ['203.0.113.1', '203.0.113.2', '203.0.113.3']) {
      statuses.push((await request(app.getHttpServer()).get('/').set('X-Forwarded-For', address)).status);
    }
    expect(statuses).toEqual([200, 200, 429]);
    expect(await app.get(BucketService).bucket(TWO, '127.0.0.1').available()).toBe(0);
    await app.close();
  });

  it('is the address from a trusted proxy, or its network for IPv6', async () => {
    const app = await createApp(adapter, metadata(), undefined, true);
    const get = async (address: string) =>
      (await request(app.getHttpServer()).get('/').set('X-Forwarded-For', address)).status;
    const left = (key: string) => app.get(BucketService).bucket(TWO, key).available();

    expect([await get('203.0.113.7'), await get('::ffff:203.0.113.7'), await get('203.0.113.7')]).toEqual([
      200, 200, 429,
    ]);
    expect(await get('203.0.113.8')).toBe(200);
    expect([await get('2001:db8:1:2ff::1'), await get('2001:db8:1:200::2'), await get('2001:DB8:1:201::3')]).toEqual([
      200, 200, 429,
    ]);
    expect(await left('2001:db8:1:200::/56')).toBe(0);
    expect(await get('2001:db8:1:300::1')).toBe(200);
    const invalid = 'x'.repeat(8000);
    expect([await get(invalid), await get(invalid), await get(invalid)]).toEqual([200, 200, 429]);
    await app.close();
  });
  const NETWORKS = ['loopback', '10.0.0.0/8'];
  it.each<[string, unknown, string, string]>([
    ['a list of networks', NETWORKS, '203.0.113.7:4711', '203.0.113.7'],
    ['a list of networks', NETWORKS, '203.0.113.7:4711, 10.0.0.1:2', '203.0.113.7'],
    ['a list of networks', NETWORKS, '6.6.6.6:1, 203.0.113.7:4711, 10.0.0.1:2, 10.0.0.2', '203.0.113.7'],
    ['a list of networks', NETWORKS, '203.0.113.7, [::ffff:10.0.0.1]:2', '203.0.113.7'],
    ['a list of networks', NETWORKS, '[2001:db8:1:2ff::1]:443, 10.0.0.1:2', '2001:db8:1:200::/56'],
    ['a list of networks', NETWORKS, '203.0.113.7:4711,10.0.0.1:99999', '203.0.113.7'],
    ['a list of networks', NETWORKS, '10.0.0.3:1, 10.0.0.1:2', '10.0.0.3'],
    ['a function', (address: string) => /^(127|10)\./.test(address), '203.0.113.7:1, 10.0.0.1:2', '203.0.113.7'],
    [
      'a function of hops',
      (_address: string, hop: number) => hop < 2,
      '6.6.6.6:3, 203.0.113.7:1, 10.0.0.1:2',
      '203.0.113.7',
    ],
    ...(adapter === 'express'
      ? ([
          ['a number', 2, '6.6.6.6:3, 203.0.113.7:1, 10.0.0.1:2', '203.0.113.7'],
          ['a number', 1, '6.6.6.6:3, 203.0.113.7:1', '203.0.113.7'],
        ] as [string, unknown, string, string][])
      : []),
  ])('has no ports if proxies are trusted by %s (%j): %s', async (_trust, trust, forwarded, key) => {
    const app = await createApp(adapter, metadata(), undefined, trust);
    const { headers } = await request(app.getHttpServer()).get('/').set('X-Forwarded-For', forwarded);
    expect(headers.ratelimit).toMatch(/;r=1;/);
    expect(await app.get(BucketService).bucket(TWO, key).available()).toBe(1);
    await app.close();
  });

  it('leaves the header of the request as the proxies wrote it', async () => {
    const seen: unknown[] = [];
    @Controller()
    class Reader {
      @RateLimit({ ...TWO, key: byIp(), skip: fromAddresses('192.0.2.0/24') })
      @Get()
      get(@Req() { headers, ip }: { headers: Record<string, string>; ip: string }) {
        seen.push([headers['x-forwarded-for'], ip]);
      }
    }
    const app = await createApp(adapter, { ...metadata(), controllers: [Reader] }, undefined, NETWORKS);
    const get = (forwarded: string) => request(app.getHttpServer()).get('/').set('X-Forwarded-For', forwarded);
    await get('203.0.113.7:1, 10.0.0.1:2');
    expect(seen).toEqual([['203.0.113.7:1, 10.0.0.1:2', '10.0.0.1:2']]);
    expect(await app.get(BucketService).bucket(TWO, '203.0.113.7').available()).toBe(1);
    expect((await get('192.0.2.7:1, 10.0.0.1:2')).headers.ratelimit).toBeUndefined();
    await app.close();
  });
});

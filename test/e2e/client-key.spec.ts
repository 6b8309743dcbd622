import { describe, expect, it } from '@jest/globals';
import { Controller, Get } from '@nestjs/common';
import { BucketService, MemoryStore, RateLimit, RateLimitModule } from 'nest-rate-limit';
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
});

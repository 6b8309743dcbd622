import { Agent, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication } from '@nestjs/common';
import { RateLimit, RateLimitModule } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { ADAPTERS, createApp, storeOptions } from '../support/create-app.js';
import { clockedStore, until } from '../support/requests.js';

const COUNT = 1000;
let handled = 0;
let app: INestApplication | undefined;
let agent: Agent | undefined;
afterEach(async () => {
  agent?.destroy();
  await app?.close();
});

@Controller()
class Resource {
  @RateLimit({ capacity: 1, refill: 1, unit: 'hour', maxWait: '365d', key: 'all', settle: 'successes' })
  @Get('queue')
  queue() {
    handled++;
  }
}

/** Resources of this process that keep it alive, sockets of clients and servers aside. */
function timers(): string[] {
  return process.getActiveResourcesInfo().filter((name) => name === 'Timeout' || name === 'Immediate');
}

describe('an application', () => {
  // Each with each would take long.
  it.each([
    { adapter: 'express', store: 'memory', kind: 'closes its connections' },
    { adapter: 'fastify', store: 'redis', kind: 'keeps its connections' },
  ] as const)(
    'on $adapter, buckets in $store, closes within a second with 1,000 requests in line of a client that $kind',
    async ({ adapter, store, kind }) => {
      handled = 0;
      const clock = new FakeClock();
      const before = timers().length;
      app = await createApp(adapter, {
        imports: [RateLimitModule.forRoot(clockedStore(store, clock))],
        controllers: [Resource],
      });
      await app.listen(0, '127.0.0.1');
      const server = app.getHttpServer();
      const { port } = server.address() as AddressInfo;
      agent = new Agent({ keepAlive: kind === 'keeps its connections', maxSockets: COUNT });
      const keeping = agent;
      const responses: { listenerCount(event: string): number }[] = [];
      server.on('request', (_: unknown, response: { listenerCount(event: string): number }) =>
        responses.push(response),
      );
      const statuses: number[] = [];
      const call = () =>
        get({ port, path: '/queue', agent: keeping }, (response) => {
          statuses.push(response.statusCode ?? 0);
          response.resume();
        });
      call();
      await until(() => statuses.length === 1);
      for (let i = 0; i < COUNT; i++) call();
      await until(() => clock.sleeping === 2 * COUNT, 15_000);
      const start = Date.now();
      const used = process.cpuUsage();
      await app.close();
      // The second is meant for a machine that has nothing else to do: so what counts is the time that was worked.
      const { user, system } = process.cpuUsage(used);
      expect(Math.min(user / 1000 + system / 1000, Date.now() - start)).toBeLessThan(1000);
      expect(Date.now() - start).toBeLessThan(4000);
      await until(() => statuses.length === COUNT + 1, 15_000);
      agent.destroy();
      expect(statuses).toEqual([200, ...new Array<number>(COUNT).fill(503)]);
      expect(handled).toBe(1);
      expect(clock.sleeping).toBe(0);
      // A response has listeners of its server and framework; those of one that never waited are the measure.
      const usual = responses[0].listenerCount('close') + responses[0].listenerCount('disconnect');
      expect(Math.max(...responses.map((one) => one.listenerCount('close') + one.listenerCount('disconnect')))).toBe(
        usual,
      );
      await until(() => timers().length <= before);
    },
  );
});

describe.each(ADAPTERS)('on %s, by the clock of the machine', (adapter) => {
  it('leaves no timer behind', async () => {
    handled = 0;
    const before = timers().length;
    app = await createApp(adapter, {
      imports: [RateLimitModule.forRoot(storeOptions('memory'))],
      controllers: [Resource],
    });
    await app.listen(0, '127.0.0.1');
    const { port } = app.getHttpServer().address() as AddressInfo;
    let arrived = 0;
    app.getHttpServer().on('request', () => arrived++);
    const statuses: number[] = [];
    const clients = [...new Array(20)].map(() =>
      get({ port, path: '/queue', agent: false }, (response) => {
        statuses.push(response.statusCode ?? 0);
        response.resume();
      }).on('error', () => {}),
    );
    await until(() => arrived === 20);
    for (const client of clients.slice(0, 10)) client.destroy();
    await app.close();
    await until(() => statuses.length >= 10);
    expect(statuses.filter((status) => status === 503).length).toBeGreaterThanOrEqual(9);
    expect(handled).toBe(1);
    await until(() => timers().length <= before);
  });
});

import { type ClientRequest, get, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication, Query } from '@nestjs/common';
import { BucketService, RateLimit, RateLimitModule, type RateLimitModuleOptions } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { COMBINATIONS, createApp } from '../support/create-app.js';
import { clockedStore, until } from '../support/requests.js';

const PER_SECOND = { capacity: 1, refill: 1 } as const;

let handled: { number: string; at: number }[] = [];
let clock = new FakeClock();

@Controller()
class Resource {
  @RateLimit({ ...PER_SECOND, name: 'queue', maxWait: '5s' })
  @Get('queue')
  queue(@Query('number') number: string) {
    handled.push({ number, at: clock.now() });
    return number;
  }

  @RateLimit({ maxRequest: 1, duration: 2, name: 'window', maxWait: '10s' })
  @RateLimit({ ...PER_SECOND, name: 'bucket', maxWait: '3s' })
  @Get('two')
  two(@Query('number') number: string) {
    this.queue(number);
  }

  @RateLimit({ ...PER_SECOND, name: 'patient', maxWait: '10s' })
  @RateLimit({ ...PER_SECOND, name: 'impatient' })
  @Get('impatient')
  impatient() {}

  @RateLimit({ ...PER_SECOND, name: 'blocking', maxWait: '1s', block: '10s' })
  @Get('blocking')
  blocking() {}

  @RateLimit({ maxRequest: 2, duration: 10, name: 'short-block', block: '3s' })
  @Get('short-block')
  shortBlock() {}
}

interface ResponseHead {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
}

describe.each(COMBINATIONS)('Queue on $adapter with the $store store', ({ adapter, store }) => {
  let app: INestApplication;
  let port: number;
  let responses: ResponseHead[] = [];
  beforeEach(() => {
    handled = [];
    responses = [];
    clock = new FakeClock();
  });
  afterEach(() => app.close());

  const start = async (options: RateLimitModuleOptions = {}) => {
    app = await createApp(adapter, {
      imports: [RateLimitModule.forRoot({ ...clockedStore(store, clock), key: 'all', ...options })],
      controllers: [Resource],
    });
    await app.listen(0, '127.0.0.1');
    port = (app.getHttpServer().address() as AddressInfo).port;
  };
  const available = (name: string) =>
    app
      .get(BucketService)
      .bucket({ ...PER_SECOND, name }, 'all')
      .available();

  /** Sends a request that the client can abort. Appends the response to `responses`. */
  const call = (path: string): ClientRequest => {
    const responsesOfTest = responses;
    const client = get({ port, path, agent: false }, (response) => {
      responsesOfTest.push({ status: response.statusCode ?? 0, headers: response.headers });
      response.resume();
    });
    return client.on('error', () => {});
  };
  /** Sends requests in order, each as soon as the previous one is queued or answered. */
  const callInOrder = async (count: number, from = 0, path = '/queue'): Promise<ClientRequest[]> => {
    const clients: ClientRequest[] = [];
    for (let i = from; i < from + count; i++) {
      const before = [responses.length, clock.sleeping].join();
      clients.push(call(`${path}?number=${i}`));
      await until(() => [responses.length, clock.sleeping].join() !== before);
    }
    return clients;
  };

  it('admits requests one per second in order, and rejects those that would wait too long', async () => {
    await start();
    await callInOrder(10);
    expect(responses.map(({ status }) => status)).toEqual([200, 429, 429, 429, 429]);
    for (const { headers } of responses.slice(1)) {
      expect([headers['retry-after'], headers.ratelimit]).toEqual(['6', '"queue";r=0;t=6']);
    }
    const begin = clock.now();
    await clock.advance(999);
    expect(handled).toHaveLength(1);
    for (let second = 1; second <= 5; second++) {
      await clock.advance(second === 1 ? 1 : 1000);
      await until(() => responses.length === 5 + second);
    }
    expect(handled).toEqual([0, 1, 2, 3, 4, 5].map((i) => ({ number: `${i}`, at: begin + i * 1000 })));
    await clock.advance(60_000);
    expect(handled).toHaveLength(6);
    expect(responses.every(({ status }) => status === 200 || status === 429)).toBe(true);
    expect(clock.sleeping).toBe(0);
  });

  it('accepts five new requests after five clients disconnect, the last one first', async () => {
    await start();
    const clients = await callInOrder(6);
    expect(await available('queue')).toBe(-5);
    for (const [i, client] of clients.slice(1).reverse().entries()) {
      client.destroy();
      await until(async () => (await available('queue')) === i - 4);
    }
    await callInOrder(5, 10);
    expect(responses.map(({ status }) => status)).toEqual([200]);
    for (let second = 1; second <= 5; second++) {
      await clock.advance(1000);
      await until(() => responses.length === 1 + second);
    }
    expect(handled.map(({ number }) => number)).toEqual(['0', '10', '11', '12', '13', '14']);
  });

  it('accepts five new requests after a connection with five pipelined ones closes', async () => {
    await start();
    await callInOrder(1);
    const socket = connect(port, '127.0.0.1');
    socket.write('GET /queue HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(5));
    await until(() => clock.sleeping === 10);
    expect(await available('queue')).toBe(-5);
    socket.destroy();
    await until(async () => (await available('queue')) === 0);
    await callInOrder(5, 10);
    expect(responses.map(({ status }) => status)).toEqual([200]);
  });

  it('keeps the positions behind a client that disconnects', async () => {
    await start();
    const [, second] = await callInOrder(4);
    const begin = clock.now();
    second.destroy();
    await until(() => clock.sleeping === 4);
    for (let turn = 1; turn <= 3; turn++) await clock.advance(1000);
    await until(() => responses.length === 3);
    expect(handled.map(({ number, at }) => [number, at - begin])).toEqual([
      ['0', 0],
      ['2', 2000],
      ['3', 3000],
    ]);
  });

  it('never runs the handler for a client that disconnects just before its turn', async () => {
    await start();
    const clients = await callInOrder(3);
    await clock.advance(999);
    for (const client of clients.slice(1)) client.destroy();
    await until(() => clock.sleeping === 0);
    await clock.advance(10_000);
    expect(handled.map(({ number }) => number)).toEqual(['0']);
  });

  it('rejects requests beyond maxSuspended without reserving a position', async () => {
    await start({ maxSuspended: 2 });
    await callInOrder(5);
    expect(responses.map(({ status }) => status)).toEqual([200, 429, 429]);
    expect(responses[1].headers['retry-after']).toBe('3');
    expect(await available('queue')).toBe(-2);
    await clock.advance(1000);
    await until(() => responses.length === 4);
    await callInOrder(1, 5);
    expect(await available('queue')).toBe(-2);
  });

  it('enforces maxSuspended for concurrent requests', async () => {
    await start({ maxSuspended: 2 });
    for (let i = 0; i < 6; i++) call(`/queue?number=${i}`);
    // Each waiter has two sleepers: its turn, and the deadline of the suspension.
    await until(() => responses.length + clock.sleeping / 2 === 6);
    const waiting = clock.sleeping / 2;
    expect(responses.map(({ status }) => status).sort()).toEqual([200, ...new Array<number>(5 - waiting).fill(429)]);
    expect([1, 2]).toContain(waiting);
    expect(await available('queue')).toBe(-waiting);
  });

  it('queues nothing with maxSuspended: 0', async () => {
    await start({ maxSuspended: 0 });
    await callInOrder(2);
    expect(responses.map(({ status }) => status)).toEqual([200, 429]);
    expect(responses[1].headers['retry-after']).toBe('1');
  });

  it('waits for the longest of several policies, within the maxWait of each', async () => {
    await start();
    await callInOrder(6, 0, '/two');
    // The window sets the turns to 0, 2, 4, and 6 s. The bucket, empty until 1 s, would require shorter waits.
    const begin = clock.now();
    const turns: number[] = [];
    while (clock.sleeping > 0) {
      const done = handled.length;
      turns.push(clock.nextWake - begin);
      await clock.advance(clock.nextWake - clock.now());
      await until(() => handled.length > done);
    }
    expect(turns).toEqual(handled.slice(1).map(({ at }) => at - begin));
    expect(turns.every((turn, i) => turn === 2000 * (i + 1))).toBe(true);
    expect(handled.map(({ number }) => number)).toEqual([...handled.keys()].map(String));
  });

  it('rejects if one of several policies has no maxWait, and takes nothing from the others', async () => {
    await start();
    await callInOrder(2, 0, '/impatient');
    expect(responses.map(({ status }) => status)).toEqual([200, 429]);
    expect(await available('patient')).toBe(0);
  });

  it('starts a block with the first wait beyond maxWait, and does not extend it later', async () => {
    await start();
    await callInOrder(3, 0, '/blocking');
    expect(responses.map(({ status }) => status)).toEqual([200, 429]);
    expect(responses[1].headers['retry-after']).toBe('10');
    await clock.advance(9999);
    await until(() => responses.length === 3);
    await callInOrder(1, 3, '/blocking');
    expect([responses[3].status, responses[3].headers['retry-after']]).toEqual([429, '1']);
    await clock.advance(1);
    await callInOrder(1, 4, '/blocking');
    expect(responses[4].status).toBe(200);
  });

  it('rejects until the window ends if the block is shorter', async () => {
    await start();
    await callInOrder(3, 0, '/short-block');
    expect(responses[2].headers['retry-after']).toBe('10');
    await clock.advance(4000);
    await callInOrder(1, 3, '/short-block');
    expect([responses[3].status, responses[3].headers['retry-after']]).toEqual([429, '6']);
  });
});

describe.each(COMBINATIONS)('Queue shutdown on $adapter with the $store store', ({ adapter, store }) => {
  it('cancels all reservations when the application closes', async () => {
    handled = [];
    clock = new FakeClock();
    const options = clockedStore(store, clock);
    const start = () =>
      createApp(adapter, {
        imports: [RateLimitModule.forRoot({ ...options, key: 'all' })],
        controllers: [Resource],
      });
    const app = await start();
    const http = app.getHttpServer().listen(0);
    const responses = [0, 1, 2, 3, 4, 5].map((number) => request(http).get(`/queue?number=${number}`).then());
    await until(() => clock.sleeping === 10);
    await app.close();
    const codes = (await Promise.all(responses)).map(({ status }) => status);
    expect(codes.sort()).toEqual([200, 503, 503, 503, 503, 503]);
    expect(handled).toHaveLength(1);
    expect(clock.sleeping).toBe(0);
    const next = await start();
    expect(
      await next
        .get(BucketService)
        .bucket({ ...PER_SECOND, name: 'queue' }, 'all')
        .available(),
    ).toBe(0);
    await next.close();
  });
});

it('queues requests in real time', async () => {
  clock = new FakeClock();
  handled = [];
  const app = await createApp('express', { imports: [RateLimitModule.forRoot()], controllers: [Resource] });
  const http = app.getHttpServer();
  const start = Date.now();
  expect((await request(http).get('/queue?number=0')).status).toBe(200);
  expect((await request(http).get('/queue?number=1')).text).toBe('1');
  expect(Date.now() - start).toBeGreaterThanOrEqual(990);
  await app.close();
});

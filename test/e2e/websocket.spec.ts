import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { type INestApplication, Logger, UseGuards } from '@nestjs/common';
import { Ack, MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import {
  BucketService,
  byHeader,
  MemoryStore,
  RateLimit,
  RateLimitGuard,
  RateLimitModule,
  type RateLimitModuleOptions,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { BrokenStore } from '../support/broken-store.js';
import { createApp } from '../support/create-app.js';
import { until } from '../support/requests.js';
import { connect, SOCKETS, type SocketClient, useSockets } from '../support/websocket.js';

const TWO = { maxRequest: 2, unit: 'minute' } as const;
const QUEUE = { capacity: 1, refill: 1, name: 'line' } as const;
const SETTLED = { capacity: 5, refill: 1, unit: 'hour', name: 'settled' } as const;
const runs: string[] = [];

@WebSocketGateway()
class Gateway {
  constructor(private readonly buckets: BucketService) {}

  @SubscribeMessage('free')
  free() {
    return { event: 'free', data: 'Hello Free World' };
  }

  @RateLimit(TWO)
  @SubscribeMessage('limited')
  limited(@MessageBody() data: unknown) {
    runs.push('limited');
    return { event: 'limited', data: data ?? 'nothing' };
  }

  @UseGuards(RateLimitGuard)
  @RateLimit({ ...SETTLED, name: 'bound' })
  @SubscribeMessage('bound')
  bound() {
    return { event: 'bound', data: 1 };
  }

  @RateLimit({ ...TWO, key: 'all', cost: () => 3, name: 'costly' })
  @SubscribeMessage('never')
  never() {}

  @RateLimit({ ...TWO, key: 'all', cost: () => 3, name: 'told', message: () => ({ status: 'slow down' }) })
  @SubscribeMessage('told')
  told() {}

  @RateLimit({ ...SETTLED, name: 'acknowledged', capacity: 1 })
  @SubscribeMessage('acknowledged')
  acknowledged(@Ack() acknowledge: (answer: unknown) => void) {
    acknowledge('by the handler');
  }

  @SubscribeMessage('own')
  async own() {
    await this.buckets.bucket({ ...TWO, name: 'own' }, 'all').consume(3);
  }

  @RateLimit({ ...TWO, key: byHeader('x-api-key'), name: 'by-header' })
  @SubscribeMessage('by-header')
  byHeader() {}

  @RateLimit({ ...QUEUE, maxWait: '1m' })
  @SubscribeMessage('line')
  line() {
    runs.push('line');
    return { event: 'line', data: runs.length };
  }

  @RateLimit({ ...SETTLED, settle: 'failures' })
  @SubscribeMessage('settled')
  settled(@MessageBody() fails: boolean) {
    if (fails) throw new Error('failed');
    return { event: 'settled', data: 1 };
  }
}

let app: INestApplication;
let clock: FakeClock;
const clients: SocketClient[] = [];
beforeEach(() => {
  runs.length = 0;
  clock = new FakeClock();
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await app.close();
});

describe.each(SOCKETS)('WebSocket gateway on %s', (name) => {
  const start = async (options: RateLimitModuleOptions = {}) => {
    app = await createApp(
      'express',
      { imports: [RateLimitModule.forRoot({ store: new MemoryStore({ clock }), ...options })], providers: [Gateway] },
      (created) => useSockets(created, name),
    );
    await app.listen(0, '127.0.0.1');
  };
  const client = async (localAddress?: string) => {
    const connected = await connect(app, name, localAddress);
    clients.push(connected);
    return connected;
  };
  const left = (policy: object) =>
    app
      .get(BucketService)
      .bucket({ ...policy } as typeof QUEUE, '127.0.0.1')
      .available();
  const received = async ({ received }: SocketClient, count: number) => {
    await until(() => received.length >= count);
    return received.splice(0);
  };
  const rejection = { status: 'error', message: 'Too Many Requests', retryAfter: 60_000 };

  it('rejects the third message of a client without limiting other clients', async () => {
    await start();
    const first = await client();
    const second = await client('127.0.0.2');
    for (const text of ['a', 'b', 'c', 'd']) first.send('limited', text);
    expect(await received(first, 4)).toEqual(
      expect.arrayContaining([
        ['limited', 'a'],
        ['limited', 'b'],
        ['exception', rejection],
        ['exception', rejection],
      ]),
    );
    expect(runs).toHaveLength(2);
    second.send('limited', 'x');
    expect(await received(second, 1)).toEqual([['limited', 'x']]);
    first.send('free');
    expect(await received(first, 1)).toEqual([['free', 'Hello Free World']]);
    await clock.advance(60_000);
    first.send('limited', 'e');
    expect(await received(first, 1)).toEqual([['limited', 'e']]);
  });

  it('counts the messages of all sockets of a client together', async () => {
    await start();
    const [one, two] = [await client(), await client()];
    one.send('limited', 1);
    await received(one, 1);
    two.send('limited', 2);
    await received(two, 1);
    one.send('limited', 3);
    expect(await received(one, 1)).toEqual([['exception', rejection]]);
  });

  it('handles messages without a payload, and malformed messages', async () => {
    await start();
    const hostile = await client();
    hostile.send('limited');
    expect(await received(hostile, 1)).toEqual([['limited', 'nothing']]);
    hostile.send('limited', null);
    expect(await received(hostile, 1)).toEqual([['limited', 'nothing']]);
    hostile.send('limited');
    expect(await received(hostile, 1)).toEqual([['exception', rejection]]);
    for (const text of ['', 'null', '7', '[]', '{"data":1}']) hostile.sendRaw?.(text);
    hostile.send('free');
    expect(await received(hostile, 1)).toEqual([['free', 'Hello Free World']]);
  });

  it('counts a message once if the guard is bound twice', async () => {
    await start();
    const one = await client();
    one.send('bound');
    await received(one, 1);
    expect(await left({ ...SETTLED, name: 'bound' })).toBe(4);
  });

  it('omits retryAfter if no retry can succeed, and sends the message of the policy', async () => {
    await start();
    const one = await client();
    one.send('never');
    expect(await received(one, 1)).toEqual([['exception', { status: 'error', message: 'Too Many Requests' }]]);
    one.send('told');
    expect(await received(one, 1)).toEqual([['exception', { status: 'slow down' }]]);
  });

  it('reports that rate limiting is unavailable if the store fails', async () => {
    await start({ store: new BrokenStore(), failure: { mode: 'closed' } });
    const one = await client();
    one.send('limited');
    const message = 'Rate limiting is temporarily unavailable';
    expect(await received(one, 1)).toEqual([['exception', { status: 'error', message, retryAfter: 1000 }]]);
    expect(runs).toEqual([]);
  });

  it('queues messages, and cancels their reservations when the client disconnects', async () => {
    await start();
    const [one, two] = [await client(), await client()];
    const warnings: string[] = [];
    const record = ({ message }: Error) => warnings.push(message);
    process.on('warning', record);
    for (let i = 0; i < 20; i++) one.send('line');
    expect(await received(one, 1)).toEqual([['line', 1]]);
    await until(async () => (await left(QUEUE)) === -19);
    one.close();
    await until(async () => (await left(QUEUE)) === 0);
    two.send('line');
    await until(async () => (await left(QUEUE)) === -1);
    expect(runs).toHaveLength(1);
    await clock.advance(1000);
    expect(await received(two, 1)).toEqual([['line', 2]]);
    await new Promise(setImmediate);
    process.off('warning', record);
    expect(warnings).toEqual([]);
  });

  it('settles the cost of a message by its outcome', async () => {
    await start();
    const one = await client();
    one.send('settled', true);
    one.send('settled', false);
    await received(one, 2);
    await until(async () => (await left(SETTLED)) === 4);
  });
});

describe('A client of socket.io that waits for an acknowledgement', () => {
  const start = async (options: RateLimitModuleOptions = {}) => {
    app = await createApp(
      'express',
      { imports: [RateLimitModule.forRoot({ store: new MemoryStore({ clock }), ...options })], providers: [Gateway] },
      (created) => useSockets(created, 'socket.io'),
    );
    await app.listen(0, '127.0.0.1');
    const connected = await connect(app, 'socket.io');
    clients.push(connected);
    return connected as Required<SocketClient>;
  };

  it.each([
    ['without data', []],
    ['with data', ['a']],
    ['with several values', ['a', 'b']],
  ])('receives the rejection in it, and no exception event: %s', async (_, data) => {
    const one = await start();
    for (let i = 0; i < 2; i++) one.send('limited', 'x');
    await until(() => one.received.length === 2);
    const rejection = { status: 'error', message: 'Too Many Requests', retryAfter: 60_000 };
    expect(await one.request('limited', ...data)).toEqual(rejection);
    expect(one.received).toHaveLength(2);
  });

  it('receives the rejection of a handler that calls the acknowledgement', async () => {
    const one = await start();
    expect(await one.request('acknowledged')).toBe('by the handler');
    expect(await one.request('acknowledged')).toMatchObject({ message: 'Too Many Requests' });
  });

  it('receives the message of the policy, and a rejection that the handler threw', async () => {
    const one = await start();
    expect(await one.request('told')).toEqual({ status: 'slow down' });
    expect(await one.request('own')).toEqual({ status: 'error', message: 'Too Many Requests' });
    expect(one.received).toEqual([]);
  });

  it('learns that the store is unavailable', async () => {
    const one = await start({ store: new BrokenStore(), failure: { mode: 'closed' } });
    const message = 'Rate limiting is temporarily unavailable';
    expect(await one.request('limited')).toEqual({ status: 'error', message, retryAfter: 1000 });
  });

  it('is answered if the header of the key is missing, and no error is logged', async () => {
    const errors = jest.spyOn(Logger.prototype, 'error').mockImplementation(() => {});
    const one = await start();
    const missing = { status: 'error', message: 'The header x-api-key is missing' };
    expect(await one.request('by-header')).toEqual(missing);
    one.send('by-header');
    await until(() => one.received.length > 0);
    expect(one.received).toEqual([['exception', missing]]);
    expect(errors).not.toHaveBeenCalled();
    errors.mockRestore();
  });
});

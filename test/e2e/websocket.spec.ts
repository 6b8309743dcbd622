import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type INestApplication, UseGuards } from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import {
  BucketService,
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
const LINE = { capacity: 1, refill: 1, name: 'line' } as const;
const SETTLED = { capacity: 5, refill: 1, unit: 'hour', name: 'settled' } as const;
const runs: string[] = [];

@WebSocketGateway()
class Gateway {
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

  @RateLimit({ ...LINE, maxWait: '1m' })
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

describe.each(SOCKETS)('a gateway on %s', (name) => {
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
  const left = (numbers: object) =>
    app
      .get(BucketService)
      .bucket({ ...numbers } as typeof LINE, '127.0.0.1')
      .available();
  const heard = async ({ heard }: SocketClient, count: number) => {
    await until(() => heard.length >= count);
    return heard.splice(0);
  };
  const refused = { status: 'error', message: 'Too Many Requests', retryAfter: 60_000 };

  it('refuses the third message of a client, and nobody else', async () => {
    await start();
    const first = await client();
    const second = await client('127.0.0.2');
    for (const text of ['a', 'b', 'c', 'd']) first.send('limited', text);
    expect(await heard(first, 4)).toEqual(
      expect.arrayContaining([
        ['limited', 'a'],
        ['limited', 'b'],
        ['exception', refused],
        ['exception', refused],
      ]),
    );
    expect(runs).toHaveLength(2);
    second.send('limited', 'x');
    expect(await heard(second, 1)).toEqual([['limited', 'x']]);
    first.send('free');
    expect(await heard(first, 1)).toEqual([['free', 'Hello Free World']]);
    await clock.advance(60_000);
    first.send('limited', 'e');
    expect(await heard(first, 1)).toEqual([['limited', 'e']]);
  });

  it('counts all sockets of a client together', async () => {
    await start();
    const [one, two] = [await client(), await client()];
    one.send('limited', 1);
    await heard(one, 1);
    two.send('limited', 2);
    await heard(two, 1);
    one.send('limited', 3);
    expect(await heard(one, 1)).toEqual([['exception', refused]]);
  });

  it('takes messages without a payload, and nonsense', async () => {
    await start();
    const hostile = await client();
    hostile.send('limited');
    expect(await heard(hostile, 1)).toEqual([['limited', 'nothing']]);
    hostile.send('limited', null);
    expect(await heard(hostile, 1)).toEqual([['limited', 'nothing']]);
    hostile.send('limited');
    expect(await heard(hostile, 1)).toEqual([['exception', refused]]);
    for (const text of ['', 'null', '7', '[]', '{"data":1}']) hostile.sendRaw?.(text);
    hostile.send('free');
    expect(await heard(hostile, 1)).toEqual([['free', 'Hello Free World']]);
  });

  it('counts once where the guard is bound twice', async () => {
    await start();
    const one = await client();
    one.send('bound');
    await heard(one, 1);
    expect(await left({ ...SETTLED, name: 'bound' })).toBe(4);
  });

  it('names no time where there is none, and says what the policy says', async () => {
    await start();
    const one = await client();
    one.send('never');
    expect(await heard(one, 1)).toEqual([['exception', { status: 'error', message: 'Too Many Requests' }]]);
    one.send('told');
    expect(await heard(one, 1)).toEqual([['exception', { status: 'slow down' }]]);
  });

  it('answers that the store has failed', async () => {
    await start({ store: new BrokenStore(), failure: { mode: 'closed' } });
    const one = await client();
    one.send('limited');
    const message = 'Rate limiting is temporarily unavailable';
    expect(await heard(one, 1)).toEqual([['exception', { status: 'error', message, retryAfter: 1000 }]]);
    expect(runs).toEqual([]);
  });

  it('lets messages wait in line, and gives their places back when the client goes', async () => {
    await start();
    const [one, two] = [await client(), await client()];
    const warnings: string[] = [];
    const note = ({ message }: Error) => warnings.push(message);
    process.on('warning', note);
    for (let i = 0; i < 20; i++) one.send('line');
    expect(await heard(one, 1)).toEqual([['line', 1]]);
    await until(async () => (await left(LINE)) === -19);
    one.close();
    await until(async () => (await left(LINE)) === 0);
    two.send('line');
    await until(async () => (await left(LINE)) === -1);
    expect(runs).toHaveLength(1);
    await clock.advance(1000);
    expect(await heard(two, 1)).toEqual([['line', 2]]);
    await new Promise(setImmediate);
    process.off('warning', note);
    expect(warnings).toEqual([]);
  });

  it('settles what a message has come to', async () => {
    await start();
    const one = await client();
    one.send('settled', true);
    one.send('settled', false);
    await heard(one, 2);
    await until(async () => (await left(SETTLED)) === 4);
  });
});

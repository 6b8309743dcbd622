import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import {
  Catch,
  Controller,
  type ExceptionFilter,
  type ExecutionContext,
  type INestMicroservice,
  Logger,
  type Provider,
  UseGuards,
} from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import {
  type ClientOptions,
  type ClientProxy,
  ClientProxyFactory,
  EventPattern,
  JsonSocket,
  MessagePattern,
  type MicroserviceOptions,
  Payload,
  RpcException,
  Transport,
} from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import {
  BucketService,
  byIp,
  MemoryStore,
  RateLimit,
  RateLimitExceededException,
  RateLimitGuard,
  RateLimitModule,
  type RateLimitModuleOptions,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { EMPTY, lastValueFrom } from 'rxjs';
import { BrokenStore } from '../support/broken-store.js';
import { type Broker, startMqtt, startNats } from '../support/brokers.js';
import { freePort, redisUrl } from '../support/redis.js';
import { until } from '../support/requests.js';

const TWO = { maxRequest: 2, unit: 'minute' } as const;
const QUEUE = { capacity: 1, refill: 1, name: 'line', key: 'all' } as const;
const SETTLED = { capacity: 5, refill: 1, unit: 'hour', name: 'settled', key: 'all' } as const;
const runs: unknown[] = [];

/** Returns a pattern that is unique to this process, because other processes may use the same Redis. */
function unique(pattern: string): string {
  return `${process.pid}:${pattern}`;
}

function senderOf(context: ExecutionContext): string | undefined {
  return context.switchToRpc().getData<{ from?: string } | null | undefined>()?.from ?? 'nobody';
}

@Controller()
class Service {
  constructor(private readonly buckets: BucketService) {}

  @MessagePattern(unique('free'))
  free() {
    return 'Hello Free World';
  }

  @RateLimit(TWO)
  @MessagePattern(unique('limited'))
  limited(@Payload() data: unknown) {
    runs.push(data);
    return data ?? 'nothing';
  }

  @RateLimit(() => ({ ...TWO }))
  @MessagePattern(unique('told'))
  told(@Payload() data: unknown) {
    return data;
  }

  @RateLimit({ ...TWO, key: byIp() })
  @MessagePattern(unique('by-ip'))
  byIp() {
    runs.push('by-ip');
  }

  @UseGuards(RateLimitGuard)
  @RateLimit({ ...TWO, key: senderOf, name: 'sender' })
  @MessagePattern(unique('by-sender'))
  bySender(@Payload() data: unknown) {
    runs.push(data);
    return 'done';
  }

  @RateLimit({ ...TWO, key: 'all', name: 'events' })
  @EventPattern(unique('event'))
  event(@Payload() data: unknown) {
    runs.push(data);
  }

  @EventPattern(unique('own-event'))
  async ownEvent(@Payload() _data: unknown) {
    await this.buckets.bucket(TWO, 'all').consume(3);
  }

  @RateLimit({ ...QUEUE, maxWait: '1m' })
  @MessagePattern(unique('line'))
  line() {
    runs.push('line');
    return runs.length;
  }

  @MessagePattern(unique('own'))
  async own() {
    await this.buckets.bucket(TWO, 'all').consume(3);
  }

  @RateLimit({ ...SETTLED, settle: 'failures' })
  @MessagePattern(unique('settled'))
  settled(@Payload() fails: boolean) {
    if (fails) throw new Error('failed');
    return 1;
  }
}

/** Connects from another local address. */
class OtherAddressSocket extends JsonSocket {
  override connect(port: number, host: string) {
    this.socket.connect({ port, host, localAddress: '127.0.0.2' });
    return this;
  }
}

const rejection = { status: 'error', message: 'Too Many Requests', retryAfter: 60_000 };
let nats: Broker;
let mqtt: Broker;
beforeAll(async () => {
  [nats, mqtt] = [await startNats(), await startMqtt()];
});
afterAll(async () => {
  await nats.stop();
  await mqtt.stop();
});

let app: INestMicroservice;
let options: MicroserviceOptions;
let clock: FakeClock;
const clients: ClientProxy[] = [];
beforeEach(() => {
  runs.length = 0;
  clock = new FakeClock();
});
afterEach(async () => {
  for (const client of clients.splice(0)) await client.close();
  await app.close();
});

const OPTIONS = {
  TCP: async () => ({ transport: Transport.TCP, options: { host: '127.0.0.1', port: await freePort() } }) as const,
  Redis: async () => {
    const { hostname: host, port, username, password } = new URL(redisUrl());
    return { transport: Transport.REDIS, options: { host, port: Number(port || 6379), username, password } } as const;
  },
  NATS: async () => ({ transport: Transport.NATS, options: { servers: nats.url } }) as const,
  MQTT: async () => ({ transport: Transport.MQTT, options: { url: mqtt.url } }) as const,
};
type TransportName = keyof typeof OPTIONS;

async function start(
  transport: TransportName,
  module: RateLimitModuleOptions = {},
  providers: Provider[] = [],
): Promise<void> {
  options = await OPTIONS[transport]();
  const built = await Test.createTestingModule({
    imports: [RateLimitModule.forRoot({ store: new MemoryStore({ clock }), ...module })],
    controllers: [Service],
    providers,
  }).compile();
  app = built.createNestMicroservice<MicroserviceOptions>({ ...options, logger: false });
  await app.listen();
  if (transport === 'MQTT') await subscribed();
}

/** Nest's server for MQTT does not wait for its subscriptions, which its client makes one after the other. */
async function subscribed(): Promise<void> {
  await app.unwrap<{ unsubscribeAsync(topic: string): Promise<unknown> }>().unsubscribeAsync('none');
}

async function client(more: object = {}): Promise<ClientProxy> {
  const made = ClientProxyFactory.create({ ...options, options: { ...options.options, ...more } } as ClientOptions);
  clients.push(made);
  await made.connect();
  return made;
}

/** Sends a message. Returns the response, or `{ error }`. */
async function send(from: ClientProxy, pattern: string, data: unknown = ''): Promise<unknown> {
  return lastValueFrom(from.send(unique(pattern), data as object)).catch((error) => ({ error }));
}

const left = (limit: typeof QUEUE | typeof SETTLED) => {
  const { key, ...policy } = limit;
  return app.get(BucketService).bucket(policy, key).available();
};

describe('Microservice over TCP', () => {
  it('rejects the third message of a client without limiting other clients', async () => {
    await start('TCP');
    const [first, second] = [await client(), await client({ socketClass: OtherAddressSocket })];
    expect(await send(first, 'limited', 'a')).toBe('a');
    expect(await send(first, 'limited', 'b')).toBe('b');
    expect(await send(first, 'limited', 'c')).toEqual({ error: rejection });
    expect(runs).toEqual(['a', 'b']);
    expect(await send(second, 'limited', 'x')).toBe('x');
    expect(await send(first, 'free')).toBe('Hello Free World');
    await clock.advance(60_000);
    expect(await send(first, 'limited', 'd')).toBe('d');
  });

  it('cancels the reservations of a client that disconnects', async () => {
    await start('TCP');
    const [one, two] = [await client(), await client()];
    expect(await send(one, 'line')).toBe(1);
    for (let i = 0; i < 20; i++) void send(one, 'line');
    await until(async () => (await left(QUEUE)) === -20);
    await one.close();
    await until(async () => (await left(QUEUE)) === 0);
    const queued = send(two, 'line');
    await until(async () => (await left(QUEUE)) === -1);
    await clock.advance(1000);
    expect(await queued).toBe(2);
  });
});

describe('Microservice over Redis', () => {
  it.each(['limited', 'told'])(
    'allows messages without a client address under the default key, and warns once: %s',
    async (name) => {
      const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
      await start('Redis');
      const one = await client();
      for (let i = 0; i < 4; i++) expect(await send(one, name, i + 1)).toBe(i + 1);
      expect(warn.mock.calls).toEqual([
        [
          `Policy Service.${name} does not apply to requests without a client address: set its \`key\` to a function that identifies their sender`,
        ],
      ]);
      warn.mockRestore();
    },
  );

  it('responds with an error if the key requires an address', async () => {
    await start('Redis');
    expect(await send(await client(), 'by-ip')).toEqual({
      error: { status: 'error', message: 'Internal server error' },
    });
    expect(runs).toEqual([]);
  });
});

describe.each(['TCP', 'Redis'] as const)('Microservice over %s', (transport) => {
  it('handles messages without a payload', async () => {
    await start(transport);
    for (const payload of [{}, { data: null }]) {
      // Nest's own client never sends such a packet, but other clients may.
      const hostile = await client({
        serializer: { serialize: ({ data, ...packet }: object & { data: unknown }) => ({ ...packet, ...payload }) },
      });
      expect(await send(hostile, 'by-sender')).toBe('done');
    }
    expect(runs).toEqual([undefined, null]);
    expect(await send(await client(), 'by-sender')).toEqual({ error: rejection });
  });
});

describe.each(Object.keys(OPTIONS) as TransportName[])('Microservice over %s', (transport) => {
  it('rejects the third message of a key without limiting other keys', async () => {
    await start(transport);
    const one = await client();
    const results = [];
    for (const from of ['a', 'a', 'a', 'b']) results.push(await send(one, 'by-sender', { from }));
    expect(results).toEqual(['done', 'done', { error: rejection }, 'done']);
    expect(runs).toHaveLength(3);
  });

  it('does not run the handler for the third event', async () => {
    await start(transport);
    const one = await client();
    for (const n of [1, 2, 3, 4]) await lastValueFrom(one.emit(unique('event'), n), { defaultValue: undefined });
    expect(await send(one, 'free')).toBe('Hello Free World');
    expect(runs).toEqual([1, 2]);
  });

  it('logs no error for denied events', async () => {
    const errors = jest.spyOn(Logger.prototype, 'error').mockImplementation(() => {});
    await start(transport);
    const one = await client();
    for (let n = 0; n < 20; n++) await lastValueFrom(one.emit(unique('event'), n), { defaultValue: undefined });
    expect(await send(one, 'free')).toBe('Hello Free World');
    await lastValueFrom(one.emit(unique('own-event'), 1), { defaultValue: undefined });
    expect(await send(one, 'free')).toBe('Hello Free World');
    expect(runs).toEqual([0, 1]);
    expect(errors).not.toHaveBeenCalled();
    errors.mockRestore();
  });

  it('warns once that denied events are lost', async () => {
    const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
    await start(transport);
    const one = await client();
    for (let n = 0; n < 5; n++) await lastValueFrom(one.emit(unique('event'), n), { defaultValue: undefined });
    for (let n = 0; n < 3; n++) await send(one, 'by-sender');
    const hint = 'denied events may be lost: queue them with `maxWait`, or handle them in `onLimited`';
    expect(warn.mock.calls).toEqual([[`Policy events denied a message: ${hint}`]]);
    warn.mockRestore();
  });

  it("leaves denied events to the application's own filter for RpcException", async () => {
    const caught: RpcException[] = [];
    @Catch(RpcException)
    class OwnFilter implements ExceptionFilter {
      catch(exception: RpcException) {
        caught.push(exception);
        return EMPTY;
      }
    }
    await start(transport, {}, [{ provide: APP_FILTER, useClass: OwnFilter }]);
    const one = await client();
    for (const n of [1, 2, 3]) await lastValueFrom(one.emit(unique('event'), n), { defaultValue: undefined });
    expect(await send(one, 'free')).toBe('Hello Free World');
    expect(caught.map((exception) => exception.getError())).toEqual([rejection]);
    expect(caught[0].cause).toBeInstanceOf(RateLimitExceededException);
  });

  it('reports that rate limiting is unavailable if the store fails', async () => {
    await start(transport, { store: new BrokenStore(), failure: { mode: 'closed' } });
    const message = 'Rate limiting is temporarily unavailable';
    expect(await send(await client(), 'by-sender')).toEqual({ error: { status: 'error', message, retryAfter: 1000 } });
    expect(runs).toEqual([]);
  });

  it('reports a rejection thrown by a handler', async () => {
    await start(transport, { problemDetails: true });
    expect(await send(await client(), 'own')).toEqual({ error: { status: 'error', message: 'Too Many Requests' } });
  });

  it('queues messages', async () => {
    await start(transport);
    const one = await client();
    expect(await send(one, 'line')).toBe(1);
    const queued = send(one, 'line');
    await until(async () => (await left(QUEUE)) === -1);
    await clock.advance(1000);
    expect(await queued).toBe(2);
  });

  it('settles the cost of a message by its outcome', async () => {
    await start(transport);
    const one = await client();
    await send(one, 'settled', true);
    await send(one, 'settled', false);
    await until(async () => (await left(SETTLED)) === 4);
  });
});

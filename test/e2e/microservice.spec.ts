import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Controller, type ExecutionContext, type INestMicroservice, Logger, UseGuards } from '@nestjs/common';
import {
  type ClientOptions,
  type ClientProxy,
  ClientProxyFactory,
  EventPattern,
  JsonSocket,
  MessagePattern,
  type MicroserviceOptions,
  Payload,
  Transport,
} from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import {
  BucketService,
  byIp,
  MemoryStore,
  RateLimit,
  RateLimitGuard,
  RateLimitModule,
  type RateLimitModuleOptions,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { lastValueFrom } from 'rxjs';
import { BrokenStore } from '../support/broken-store.js';
import { freePort, redisUrl } from '../support/redis.js';
import { until } from '../support/requests.js';

const TWO = { maxRequest: 2, unit: 'minute' } as const;
const LINE = { capacity: 1, refill: 1, name: 'line', key: 'all' } as const;
const SETTLED = { capacity: 5, refill: 1, unit: 'hour', name: 'settled', key: 'all' } as const;
const runs: unknown[] = [];

/** A channel of this process's own: others may use the same Redis. */
function at(pattern: string): string {
  return `${process.pid}:${pattern}`;
}

function senderOf(context: ExecutionContext): string | undefined {
  return context.switchToRpc().getData<{ from?: string } | null | undefined>()?.from ?? 'nobody';
}

@Controller()
class Service {
  constructor(private readonly buckets: BucketService) {}

  @MessagePattern(at('free'))
  free() {
    return 'Hello Free World';
  }

  @RateLimit(TWO)
  @MessagePattern(at('limited'))
  limited(@Payload() data: unknown) {
    runs.push(data);
    return data ?? 'nothing';
  }

  @RateLimit(() => ({ ...TWO }))
  @MessagePattern(at('told'))
  told(@Payload() data: unknown) {
    return data;
  }

  @RateLimit({ ...TWO, key: byIp() })
  @MessagePattern(at('by-ip'))
  byIp() {
    runs.push('by-ip');
  }

  @UseGuards(RateLimitGuard)
  @RateLimit({ ...TWO, key: senderOf, name: 'sender' })
  @MessagePattern(at('by-sender'))
  bySender(@Payload() data: unknown) {
    runs.push(data);
    return 'done';
  }

  @RateLimit({ ...TWO, key: 'all', name: 'events' })
  @EventPattern(at('event'))
  event(@Payload() data: unknown) {
    runs.push(data);
  }

  @RateLimit({ ...LINE, maxWait: '1m' })
  @MessagePattern(at('line'))
  line() {
    runs.push('line');
    return runs.length;
  }

  @MessagePattern(at('own'))
  async own() {
    await this.buckets.bucket(TWO, 'all').consume(3);
  }

  @RateLimit({ ...SETTLED, settle: 'failures' })
  @MessagePattern(at('settled'))
  settled(@Payload() fails: boolean) {
    if (fails) throw new Error('failed');
    return 1;
  }
}

/** Connects from another address of this machine. */
class Elsewhere extends JsonSocket {
  override connect(port: number, host: string) {
    this.socket.connect({ port, host, localAddress: '127.0.0.2' });
    return this;
  }
}

const refused = { status: 'error', message: 'Too Many Requests', retryAfter: 60_000 };
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

async function start(transport: 'TCP' | 'Redis', module: RateLimitModuleOptions = {}): Promise<void> {
  const { hostname: host, port, username, password } = new URL(redisUrl());
  options =
    transport === 'TCP'
      ? { transport: Transport.TCP, options: { host: '127.0.0.1', port: await freePort() } }
      : { transport: Transport.REDIS, options: { host, port: Number(port || 6379), username, password } };
  const built = await Test.createTestingModule({
    imports: [RateLimitModule.forRoot({ store: new MemoryStore({ clock }), ...module })],
    controllers: [Service],
  }).compile();
  app = built.createNestMicroservice<MicroserviceOptions>({ ...options, logger: false });
  await app.listen();
}

async function client(more: object = {}): Promise<ClientProxy> {
  const made = ClientProxyFactory.create({ ...options, options: { ...options.options, ...more } } as ClientOptions);
  clients.push(made);
  await made.connect();
  return made;
}

/** The answer, or what was answered as an error. */
async function ask(from: ClientProxy, pattern: string, data: unknown = ''): Promise<unknown> {
  return lastValueFrom(from.send(at(pattern), data as object)).catch((error) => ({ error }));
}

const left = (numbers: typeof LINE | typeof SETTLED) => {
  const { key, ...policy } = numbers;
  return app.get(BucketService).bucket(policy, key).available();
};

describe('a microservice over TCP', () => {
  it('refuses the third message of a client, and nobody else', async () => {
    await start('TCP');
    const [first, second] = [await client(), await client({ socketClass: Elsewhere })];
    expect(await ask(first, 'limited', 'a')).toBe('a');
    expect(await ask(first, 'limited', 'b')).toBe('b');
    expect(await ask(first, 'limited', 'c')).toEqual({ error: refused });
    expect(runs).toEqual(['a', 'b']);
    expect(await ask(second, 'limited', 'x')).toBe('x');
    expect(await ask(first, 'free')).toBe('Hello Free World');
    await clock.advance(60_000);
    expect(await ask(first, 'limited', 'd')).toBe('d');
  });

  it('gives the places in line of a client back that goes', async () => {
    await start('TCP');
    const [one, two] = [await client(), await client()];
    expect(await ask(one, 'line')).toBe(1);
    for (let i = 0; i < 20; i++) void ask(one, 'line');
    await until(async () => (await left(LINE)) === -20);
    await one.close();
    await until(async () => (await left(LINE)) === 0);
    const waits = ask(two, 'line');
    await until(async () => (await left(LINE)) === -1);
    await clock.advance(1000);
    expect(await waits).toBe(2);
  });
});

describe('a microservice over Redis', () => {
  it.each(['limited', 'told'])(
    'lets pass by the default key, since nobody tells who asks for %s, and says so once',
    async (name) => {
      const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
      await start('Redis');
      const one = await client();
      for (let i = 0; i < 4; i++) expect(await ask(one, name, i + 1)).toBe(i + 1);
      expect(warn.mock.calls).toEqual([
        [`Policy Service.${name} does not apply to requests whose client has no address: give it a \`key\``],
      ]);
      warn.mockRestore();
    },
  );

  it('answers with an error where the policy asks for an address', async () => {
    await start('Redis');
    expect(await ask(await client(), 'by-ip')).toEqual({
      error: { status: 'error', message: 'Internal server error' },
    });
    expect(runs).toEqual([]);
  });
});

describe.each(['TCP', 'Redis'] as const)('a microservice over %s', (transport) => {
  it('refuses the third message of a key, and no other', async () => {
    await start(transport);
    const one = await client();
    const results = [];
    for (const from of ['a', 'a', 'a', 'b']) results.push(await ask(one, 'by-sender', { from }));
    expect(results).toEqual(['done', 'done', { error: refused }, 'done']);
    expect(runs).toHaveLength(3);
  });

  it('takes messages without a payload', async () => {
    await start(transport);
    for (const payload of [{}, { data: null }]) {
      // Nest's own client refuses to send what any other may.
      const hostile = await client({
        serializer: { serialize: ({ data, ...packet }: object & { data: unknown }) => ({ ...packet, ...payload }) },
      });
      expect(await ask(hostile, 'by-sender')).toBe('done');
    }
    expect(runs).toEqual([undefined, null]);
    expect(await ask(await client(), 'by-sender')).toEqual({ error: refused });
  });

  it('does not run the handler of a third event', async () => {
    await start(transport);
    const one = await client();
    for (const n of [1, 2, 3, 4]) await lastValueFrom(one.emit(at('event'), n), { defaultValue: undefined });
    expect(await ask(one, 'free')).toBe('Hello Free World');
    expect(runs).toEqual([1, 2]);
  });

  it('answers that the store has failed', async () => {
    await start(transport, { store: new BrokenStore(), failure: { mode: 'closed' } });
    const message = 'Rate limiting is temporarily unavailable';
    expect(await ask(await client(), 'by-sender')).toEqual({ error: { status: 'error', message, retryAfter: 1000 } });
    expect(runs).toEqual([]);
  });

  it('answers what the own code of a handler has refused', async () => {
    await start(transport, { problemDetails: true });
    expect(await ask(await client(), 'own')).toEqual({ error: { status: 'error', message: 'Too Many Requests' } });
  });

  it('lets messages wait in line', async () => {
    await start(transport);
    const one = await client();
    expect(await ask(one, 'line')).toBe(1);
    const waits = ask(one, 'line');
    await until(async () => (await left(LINE)) === -1);
    await clock.advance(1000);
    expect(await waits).toBe(2);
  });

  it('settles what a message has come to', async () => {
    await start(transport);
    const one = await client();
    await ask(one, 'settled', true);
    await ask(one, 'settled', false);
    await until(async () => (await left(SETTLED)) === 4);
  });
});

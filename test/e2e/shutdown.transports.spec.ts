import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { type INestApplication, Logger, type ModuleMetadata } from '@nestjs/common';
import { BucketService, MemoryStore, RateLimitModule } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { TRANSPORTS } from '../support/disconnecting.js';
import { handlersOf } from '../support/handlers.js';
import { until } from '../support/requests.js';
import { serveRedis } from '../support/serve-redis.js';

const LIMIT = { name: 'queue', capacity: 1, refill: 1, unit: 'hour' } as const;
const WAITERS = 5;

/** A client whose connection may be anything. */
interface Caller {
  received(): string;
  call(name: string): void;
  close(): unknown;
}

type Serve = (metadata: ModuleMetadata) => Promise<{ readonly app: INestApplication; connect(): Promise<Caller> }>;

const ALL: Record<string, Serve> = { ...TRANSPORTS, 'a microservice over Redis': serveRedis };

/** The answer of a transport; `MESSAGE` is that of transports which send messages. */
const ANSWERS: readonly (readonly [transport: string, answer: RegExp])[] = [
  ['HTTP', /"statusCode":503/],
  ['GraphQL', /"code":"SERVICE_UNAVAILABLE"/],
  ['subscriptions', /"code":"SERVICE_UNAVAILABLE"/],
];
const MESSAGE = /"status":"error","message":"The application is shutting down","retryAfter":1000/;

describe.each(Object.keys(ALL))('Shutdown with queued requests: %s', (name) => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => void unhandled.push(reason);
  let logged: unknown[][];
  beforeEach(() => {
    unhandled.length = 0;
    logged = [];
    process.on('unhandledRejection', note);
    jest.spyOn(Logger.prototype, 'error').mockImplementation((...line: unknown[]) => void logged.push(line));
  });
  afterEach(() => {
    process.off('unhandledRejection', note);
    jest.restoreAllMocks();
  });

  it('answers each of them, and starts no handler', async () => {
    let runs = 0;
    const clock = new FakeClock();
    const imports = [RateLimitModule.forRoot({ store: new MemoryStore({ clock }) })];
    const { app, connect } = await ALL[name]({
      imports,
      ...handlersOf(name, [{ ...LIMIT, maxWait: '1d' }], () => ++runs),
    });
    await app.get(BucketService).bucket(LIMIT, 'all').tryConsume();
    const clients: Caller[] = [];
    for (let i = 1; i <= WAITERS; i++) {
      const client = await connect();
      clients.push(client);
      client.call('queue');
      await until(() => clock.sleeping === 2 * i);
    }
    const closed = app.close();
    const answered = () => clients.filter((client) => client.received().includes('The application is shutting down'));
    await until(() => answered().length === WAITERS).catch(() => {});
    expect([runs, clock.sleeping, answered().length]).toEqual([0, 0, WAITERS]);
    const answer = ANSWERS.find(([transport]) => name.startsWith(transport))?.[1] ?? MESSAGE;
    for (const client of clients) expect(client.received()).toMatch(answer);
    // HTTP/2: the server waits for the sessions of its clients.
    for (const client of clients) await client.close();
    await closed;
    expect([unhandled, logged]).toEqual([[], []]);
  });
});

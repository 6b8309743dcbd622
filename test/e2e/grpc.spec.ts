import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { EventEmitter } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Metadata, status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Controller, type INestApplication, type INestMicroservice, Logger } from '@nestjs/common';
import {
  GrpcMethod,
  GrpcStreamCall,
  GrpcStreamMethod,
  type MicroserviceOptions,
  Transport,
} from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import {
  BucketService,
  byHeader,
  ClientGoneError,
  MemoryStore,
  type Outcome,
  RateLimit,
  RateLimitGuard,
  RateLimitModule,
  type RateLimitModuleOptions,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { from, fromEvent, last, lastValueFrom, map, type Observable, Subject, takeUntil } from 'rxjs';
import { BrokenStore } from '../support/broken-store.js';
import { decodeStatus, disconnectDuring, type Ending, PROTO, PricesClient } from '../support/grpc.js';
import { freePort } from '../support/redis.js';
import { until } from '../support/requests.js';

const ONE = { maxRequest: 1, unit: 'minute' } as const;
const SLOT = { name: 'slot', concurrency: 1 } as const;
const QUEUE = { capacity: 1, refill: 1, name: 'queue' } as const;
const outcomes: Outcome[] = [];
const recordOutcome = (_context: unknown, outcome: Outcome) => outcomes.push(outcome) && 1;
let answer = new Subject<{ price: number }>();
let current: { cancelled: boolean } | undefined;
let runs = 0;

/** A stream that the handler of `@GrpcStreamCall` reads and writes itself. */
interface NativeStream extends EventEmitter {
  resume(): void;
  write(price: object): void;
  end(): void;
}

@Controller()
class PricesController {
  constructor(private readonly buckets: BucketService) {}

  @RateLimit({ ...ONE, name: 'unary' })
  @GrpcMethod('Prices', 'Unary')
  unary() {
    runs++;
    return { price: 1 };
  }

  @RateLimit(ONE)
  @GrpcMethod('Prices', 'ServerStream')
  serverStream() {
    return from([{ price: 1 }, { price: 2 }]);
  }

  @RateLimit(ONE)
  @GrpcStreamMethod('Prices', 'ClientStream')
  clientStream(requests: Observable<unknown>) {
    return requests.pipe(
      last(),
      map(() => ({ price: 3 })),
    );
  }

  @RateLimit(ONE)
  @GrpcStreamMethod('Prices', 'BothStream')
  bothStream(requests: Observable<unknown>) {
    const prices = new Subject();
    requests.subscribe({ next: () => prices.next({ price: 4 }), complete: () => prices.complete() });
    return prices;
  }

  @RateLimit(ONE)
  @GrpcStreamCall('Prices', 'ClientStreamCall')
  clientStreamCall(call: NativeStream, callback: (error: null, price: object) => void) {
    call.on('end', () => callback(null, { price: 5 })).resume();
  }

  @RateLimit({ ...ONE, onLimited: () => ({ price: 0 }) })
  @GrpcStreamCall('Prices', 'BothStreamCall')
  bothStreamCall(call: NativeStream) {
    call.write({ price: 6 });
    call.on('end', () => call.end()).resume();
  }

  @RateLimit({ ...ONE, key: byHeader('x-api-key') })
  @GrpcMethod('Prices', 'ByKey')
  byKey() {
    return { price: 7 };
  }

  @RateLimit({ ...ONE, key: byHeader('x-api-key') })
  @GrpcStreamCall('Prices', 'ByKeyStreamCall')
  byKeyStreamCall() {}

  @RateLimit({ capacity: 1, refill: 1000 })
  @GrpcMethod('Prices', 'Fast')
  fast() {
    return { price: 12 };
  }

  @RateLimit({ ...QUEUE, maxWait: '1m' })
  @GrpcMethod('Prices', 'Queued')
  queued() {
    runs++;
    return { price: 8 };
  }

  @RateLimit({ ...QUEUE, maxWait: '1m' })
  @GrpcStreamCall('Prices', 'QueuedStreamCall')
  queuedStreamCall(call: NativeStream) {
    this.queued();
    call.write({ price: 8 });
    call.end();
  }

  @RateLimit({ capacity: 5, refill: 1, unit: 'hour', settle: recordOutcome })
  @GrpcMethod('Prices', 'Settled')
  settled(_data: unknown, _metadata: unknown, call: { cancelled: boolean }) {
    current = call;
    return answer;
  }

  @RateLimit({ capacity: 5, refill: 1, unit: 'hour', settle: recordOutcome })
  @GrpcMethod('Prices', 'SettledStream')
  settledStream(_data: unknown, _metadata: unknown, call: { cancelled: boolean }) {
    current = call;
    return answer;
  }

  @RateLimit(SLOT)
  @GrpcMethod('Prices', 'HeldStream')
  heldStream() {
    return answer;
  }

  @RateLimit(SLOT)
  @GrpcStreamMethod('Prices', 'HeldBothStream')
  heldBothStream() {
    return answer;
  }

  @RateLimit(SLOT)
  @GrpcStreamCall('Prices', 'HeldStreamCall')
  async heldStreamCall(call: NativeStream) {
    call.resume();
    await lastValueFrom(answer.pipe(takeUntil(fromEvent(call, 'cancelled'))), { defaultValue: undefined });
    call.end();
  }

  @GrpcMethod('Prices', 'Own')
  async own() {
    await this.buckets.bucket({ ...ONE, name: 'own' }, 'all').consume(1, { maxWait: 0 });
    return { price: 9 };
  }

  @RateLimit({ ...ONE, onLimited: () => ({ price: -1 }) })
  @GrpcMethod('Prices', 'OnLimited')
  onLimited() {
    return { price: 10 };
  }

  @RateLimit({ ...ONE, cost: () => 2 })
  @GrpcMethod('Prices', 'Never')
  never() {}

  @RateLimit({ ...ONE, message: () => ({ error: 'slow_down', code: 'slow', message: 'Langsamer, bitte: ½' }) })
  @GrpcMethod('Prices', 'Worded')
  worded() {
    return { price: 11 };
  }
}

let app: INestMicroservice | INestApplication;
let clock: FakeClock;
let url: string;
const clients: PricesClient[] = [];
beforeEach(() => {
  outcomes.length = 0;
  runs = 0;
  answer = new Subject();
  clock = new FakeClock();
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await app.close();
  jest.restoreAllMocks();
});

/** `hybrid` connects the microservice to an HTTP application, whose global filters and guards do not apply to it. */
async function start(module: RateLimitModuleOptions = {}, host = '127.0.0.1', { hybrid = false } = {}): Promise<void> {
  url = host.includes('/') ? `unix:${host}` : `${host}:${await freePort()}`;
  const built = await Test.createTestingModule({
    imports: [RateLimitModule.forRoot({ store: new MemoryStore({ clock }), ...module })],
    controllers: [PricesController],
  }).compile();
  const options: MicroserviceOptions = {
    transport: Transport.GRPC,
    options: { url, package: 'prices', protoPath: PROTO },
  };
  if (!hybrid) {
    app = built.createNestMicroservice({ ...options, logger: false });
    await app.listen();
    return;
  }
  const both = built.createNestApplication({ logger: false });
  both.connectMicroservice(options, { deferInitialization: true }).useGlobalGuards(both.get(RateLimitGuard));
  app = both;
  await both.startAllMicroservices();
}

function client(options?: ConstructorParameters<typeof PricesClient>[1]): PricesClient {
  const made = new PricesClient(url, options);
  clients.push(made);
  return made;
}

const withoutMetadata = (ending: Ending) =>
  'code' in ending ? { code: ending.code, details: ending.details } : ending;
const hintsOf = (ending: Ending) => ('metadata' in ending ? (ending.metadata as Metadata).getMap() : undefined);
const exceeded = { code: status.RESOURCE_EXHAUSTED, details: 'Too Many Requests' };
const left = (policy: object) =>
  app
    .get(BucketService)
    .bucket(policy as typeof QUEUE, '127.0.0.1')
    .available();

describe('gRPC', () => {
  it.each([
    ['Unary', [1]],
    ['ServerStream', [1, 2]],
    ['ClientStream', [3]],
    ['BothStream', [4]],
    ['ClientStreamCall', [5]],
    ['BothStreamCall', [6]],
  ])('rejects the second call of a client with RESOURCE_EXHAUSTED: %s', async (method, prices) => {
    await start();
    const one = client();
    expect(await one.call(method)).toEqual({ prices });
    expect(withoutMetadata(await one.call(method))).toEqual(exceeded);
    expect(withoutMetadata(await one.call(method))).toEqual(exceeded);
    await clock.advance(60_000);
    expect(await one.call(method)).toEqual({ prices });
  });

  it.each([
    ['127.0.0.1', '127.0.0.1'],
    ['[::1]', '::/56'],
  ])('identifies a client by its address: %s', async (host, key) => {
    await start({}, host);
    const [one, two] = [client(), client()];
    await one.call('Unary');
    expect(withoutMetadata(await two.call('Unary'))).toEqual(exceeded);
    expect(
      await app
        .get(BucketService)
        .bucket({ ...ONE, name: 'unary' }, key)
        .available(),
    ).toBe(0);
  });

  it('lets all clients of a Unix socket share a bucket', async () => {
    await start({}, join(tmpdir(), `${process.pid}-grpc.sock`));
    const [one, two] = [client(), client()];
    expect(await one.call('Unary')).toEqual({ prices: [1] });
    expect(withoutMetadata(await two.call('Unary'))).toEqual(exceeded);
  });

  it('reads headers from the metadata', async () => {
    await start();
    const one = client();
    expect(await one.call('ByKey', { 'X-Api-Key': 'a' })).toEqual({ prices: [7] });
    expect(withoutMetadata(await one.call('ByKey', { 'x-api-key': 'a' }))).toEqual(exceeded);
    expect(await one.call('ByKey', { 'x-api-key': 'b' })).toEqual({ prices: [7] });
  });

  it.each(['ByKey', 'ByKeyStreamCall'])(
    'rejects a call without the header with INVALID_ARGUMENT: %s',
    async (method) => {
      const errors = jest.spyOn(Logger.prototype, 'error').mockImplementation(() => {});
      await start();
      const missing = { code: status.INVALID_ARGUMENT, details: 'The header x-api-key is missing' };
      expect(withoutMetadata(await client().call(method))).toEqual(missing);
      expect(errors).not.toHaveBeenCalled();
    },
  );

  it('reports when to retry in the metadata', async () => {
    await start();
    const one = client();
    await one.call('Unary');
    await clock.advance(500);
    const { metadata } = (await one.call('Unary')) as { metadata: Metadata };
    expect(metadata.getMap()).toMatchObject({ 'retry-after': '60', 'grpc-retry-pushback-ms': '59500' });
    const [details] = metadata.get('grpc-status-details-bin');
    expect(decodeStatus(details as Buffer)).toEqual({
      code: status.RESOURCE_EXHAUSTED,
      message: 'Too Many Requests',
      details: [{ retryDelay: { seconds: 59, nanos: 500_000_000 } }],
    });
  });

  it('lets a client retry by its own policy after the reported time', async () => {
    await start();
    const methodConfig = [
      {
        name: [{ service: 'prices.Prices' }],
        retryPolicy: {
          maxAttempts: 2,
          initialBackoff: '3600s',
          maxBackoff: '3600s',
          backoffMultiplier: 1,
          retryableStatusCodes: ['RESOURCE_EXHAUSTED'],
        },
      },
    ];
    const one = client({ 'grpc.service_config': JSON.stringify({ methodConfig }) });
    expect(await one.call('Fast')).toEqual({ prices: [12] });
    const advance = () => void clock.advance(1);
    subscribe('nest-rate-limit:decision', advance);
    expect(await one.call('Fast')).toEqual({ prices: [12] });
    unsubscribe('nest-rate-limit:decision', advance);
  });

  it('forbids retries that cannot succeed', async () => {
    await start();
    const ending = await client().call('Never');
    expect(withoutMetadata(ending)).toEqual(exceeded);
    expect(hintsOf(ending)).toMatchObject({ 'grpc-retry-pushback-ms': '-1' });
    expect(Object.keys(hintsOf(ending) ?? {})).not.toContain('retry-after');
  });

  it('sends the message of a body, and keeps the status', async () => {
    await start();
    const one = client();
    await one.call('Worded');
    expect(withoutMetadata(await one.call('Worded'))).toEqual({ ...exceeded, details: 'Langsamer, bitte: ½' });
  });

  it.each(['Unary', 'BothStream', 'ClientStreamCall', 'BothStreamCall'])(
    'reports UNAVAILABLE if the store fails: %s',
    async (method) => {
      await start({ store: new BrokenStore(), failure: { mode: 'closed' } });
      const ending = await client().call(method);
      expect(withoutMetadata(ending)).toEqual({
        code: status.UNAVAILABLE,
        details: 'Rate limiting is temporarily unavailable',
      });
      expect(hintsOf(ending)).toMatchObject({ 'retry-after': '1', 'grpc-retry-pushback-ms': '1000' });
      expect(runs).toBe(0);
    },
  );

  it('reports a rejection thrown by a handler', async () => {
    await start();
    const one = client();
    expect(await one.call('Own')).toEqual({ prices: [9] });
    const ending = await one.call('Own');
    expect(withoutMetadata(ending)).toEqual(exceeded);
    expect(hintsOf(ending)).toMatchObject({ 'retry-after': '60' });
  });

  it('answers with the result of onLimited', async () => {
    await start();
    const one = client();
    expect([await one.call('OnLimited'), await one.call('OnLimited')]).toEqual([{ prices: [10] }, { prices: [-1] }]);
  });

  it.each(['Queued', 'QueuedStreamCall'])(
    'queues calls, and cancels the reservations of those that end early: %s',
    async (method) => {
      await start();
      const [one, two] = [client(), client()];
      expect(await one.call(method)).toEqual({ prices: [8] });
      const cancelled = two.start(method);
      await until(async () => (await left(QUEUE)) === -1);
      cancelled.cancel();
      expect(withoutMetadata(await cancelled.ending)).toMatchObject({ code: status.CANCELLED });
      await until(async () => (await left(QUEUE)) === 0);
      const late = two.start(method, {}, 200);
      expect(withoutMetadata(await late.ending)).toMatchObject({ code: status.DEADLINE_EXCEEDED });
      await until(async () => (await left(QUEUE)) === 0);
      await disconnectDuring(url, method, () => until(async () => (await left(QUEUE)) === -1));
      await until(async () => (await left(QUEUE)) === 0);
      const queued = one.call(method);
      await until(async () => (await left(QUEUE)) === -1);
      await clock.advance(1000);
      expect(await queued).toEqual({ prices: [8] });
      expect(runs).toBe(2);
    },
  );

  it.each(['Settled', 'SettledStream'])('settles calls by their outcome: %s', async (method) => {
    await start();
    const one = client();
    const finished = one.call(method);
    await until(() => answer.observed);
    answer.next({ price: 1 });
    answer.complete();
    expect(await finished).toEqual({ prices: [1] });
    expect(outcomes).toMatchObject([{ status: 200, value: { price: 1 } }]);
    answer = new Subject();
    const failed = one.call(method);
    await until(() => answer.observed);
    answer.error(new Error('failed'));
    await failed;
    expect(outcomes[1]).toMatchObject({ status: 500 });
  });

  it.each(['Settled', 'SettledStream'])('settles a cancelled call as disconnected: %s', async (method) => {
    await start();
    const call = client().start(method);
    await until(() => answer.observed);
    call.cancel();
    await call.ending;
    await until(() => current?.cancelled === true);
    // Nest abandons the handler of a stream, and lets that of a single answer finish.
    answer.next({ price: 1 });
    answer.complete();
    expect(outcomes).toMatchObject([{ status: 499, error: expect.any(ClientGoneError) }]);
  });

  it.each(['Settled', 'SettledStream'])('settles the call of a client that disconnects: %s', async (method) => {
    await start();
    await disconnectDuring(url, method, () => until(() => answer.observed));
    await until(() => current?.cancelled === true);
    answer.complete();
    expect(outcomes).toMatchObject([{ status: 499, error: expect.any(ClientGoneError) }]);
  });

  describe.each(['HeldStream', 'HeldBothStream', 'HeldStreamCall'])('streams hold their slot: %s', (method) => {
    const free = () => left(SLOT);

    it('until they end', async () => {
      await start();
      const one = client();
      const first = one.start(method);
      await until(async () => answer.observed && (await free()) === 0);
      expect(withoutMetadata(await one.call(method))).toEqual(exceeded);
      answer.complete();
      await first.ending;
      await until(async () => (await free()) === 1);
    });

    it('until they are cancelled', async () => {
      await start();
      const first = client().start(method);
      await until(async () => answer.observed && (await free()) === 0);
      first.cancel();
      await until(async () => (await free()) === 1);
      expect(answer.observed).toBe(false);
    });

    it('until their client disconnects', async () => {
      await start();
      await disconnectDuring(url, method, () => until(async () => answer.observed && (await free()) === 0));
      await until(async () => (await free()) === 1);
    });
  });

  it('limits clients that reset their connections after a call', async () => {
    await start();
    for (let i = 0; i < 50; i++) await disconnectDuring(url, 'Unary', () => new Promise(setImmediate));
    await client().call('Unary');
    // One by the address, and one of all whose address is gone.
    expect(runs).toBeLessThanOrEqual(2);
  });

  it.each(['Unary', 'ServerStream', 'ClientStreamCall', 'BothStreamCall'])(
    'rejects calls where only the guard is bound: %s',
    async (method) => {
      await start({}, '127.0.0.1', { hybrid: true });
      const one = client();
      await one.call(method);
      const ending = await one.call(method);
      expect(withoutMetadata(ending)).toEqual(exceeded);
      expect(hintsOf(ending)).toMatchObject({ 'retry-after': '60' });
    },
  );
});

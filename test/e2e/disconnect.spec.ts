import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { BucketService, MemoryStore, RateLimitModule, type RateLimitOptions, type StoreRequest } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { StoreWrapper } from '../../src/stores/remote/store-wrapper.js';
import { type Client, type Served, TRANSPORTS, WAYS, type Way } from '../support/disconnecting.js';
import { handlersOf } from '../support/handlers.js';
import { until } from '../support/requests.js';

const LIMIT = { capacity: 2, refill: 1, unit: 'hour' } as const;
const HOUR = 3_600_000;

/** The settle modes, each of which is the name of a policy and of its handlers. */
const MODES: Record<string, RateLimitOptions['settle']> = {
  none: undefined,
  failures: 'failures',
  successes: 'successes',
  function: () => 1,
};

let runs = 0;
/** Lets all running handlers return. */
const release: (() => void)[] = [];

async function run(): Promise<number> {
  const run = ++runs;
  await new Promise<void>((resolve) => release.push(resolve));
  return run;
}

/** Queries of this store are pending while it is paused. */
class PausableStore extends StoreWrapper {
  paused = false;
  readonly pending: (() => void)[] = [];

  override run(request: StoreRequest) {
    if (!this.paused || request.verb !== 'take') return this.store.run(request);
    return new Promise<void>((resolve) => this.pending.push(resolve)).then(() => this.store.run(request));
  }

  proceed(): void {
    this.paused = false;
    for (const resolve of this.pending.splice(0)) resolve();
  }
}

/** A few turns of the event loop, in which everything happens that needs no client. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
}

const returnAll = () => {
  for (const each of release.splice(0)) each();
};

describe.each(Object.keys(TRANSPORTS))('Clients that disconnect: %s', (name) => {
  let served: Served;
  let clock: FakeClock;
  let store: PausableStore;
  beforeAll(async () => {
    clock = new FakeClock();
    store = new PausableStore(new MemoryStore({ clock }));
    const limits = Object.entries(MODES).map(
      ([mode, settle]) => ({ ...LIMIT, name: mode, maxWait: '365d', settle }) as const,
    );
    served = await TRANSPORTS[name]({
      imports: [RateLimitModule.forRoot({ store })],
      ...handlersOf(name, limits, run),
    });
  });
  afterAll(() => served.app.close());

  let logged: unknown[][];
  beforeEach(() => {
    logged = [];
    for (const level of ['error', 'warn'] as const) {
      jest.spyOn(Logger.prototype, level).mockImplementation((...line: unknown[]) => void logged.push(line));
    }
  });
  afterEach(() => {
    jest.restoreAllMocks();
  });

  const bucket = (mode: string) => served.app.get(BucketService).bucket({ ...LIMIT, name: mode }, 'all');
  /** Disconnects a client, and waits until the server has heard of it. */
  const disconnect = async (client: Client, way: Way) => {
    WAYS[way](client);
    const what = way === 'by resetting streams' ? 'streams' : 'sockets';
    await until(() => served.connections[what] === 0);
    await turns();
    client.socket.destroy();
  };
  /** What a newcomer is granted: the tokens in the books, and after them one in an hour. */
  const expectNewcomer = async (mode: string, tokens: number) => {
    await until(async () => (await bucket(mode).available()) === tokens).catch(() => {});
    expect([mode, 'available', await bucket(mode).available()]).toEqual([mode, 'available', tokens]);
    expect([mode, 'sleeping', clock.sleeping]).toEqual([mode, 'sleeping', 0]);
    const before = runs;
    const client = await served.connect();
    for (let i = 0; i < tokens; i++) {
      client.call(mode);
      await until(() => runs === before + i + 1);
      returnAll();
      await turns();
    }
    await bucket(mode).reset();
    await disconnect(client, 'with RST');
    expect(clock.sleeping).toBe(0);
  };
  const MOMENTS = {
    async 'while the store is queried'(mode: string, way: Way) {
      store.paused = true;
      const client = await served.connect();
      client.call(mode);
      await until(() => store.pending.length === 1);
      await disconnect(client, way);
      store.proceed();
      await turns();
      expect([mode, runs]).toEqual([mode, 0]);
      await expectNewcomer(mode, 1);
    },
    async 'while queued'(mode: string, way: Way) {
      await bucket(mode).tryConsume(2);
      const client = await served.connect();
      for (let i = 1; i <= 3; i++) {
        client.call(mode);
        if (!isPipelined) await until(() => clock.sleeping === 2 * i);
      }
      await until(() => clock.sleeping >= 2);
      await disconnect(client, way);
      await until(async () => (await bucket(mode).available()) === 0).catch(() => {});
      expect([mode, 'queued', await bucket(mode).available(), clock.sleeping]).toEqual([mode, 'queued', 0, 0]);
      await clock.advance(HOUR);
      expect([mode, runs]).toEqual([mode, 0]);
      await expectNewcomer(mode, 1);
    },
    async 'while the handler runs'(mode: string, way: Way) {
      const client = await served.connect();
      client.call(mode);
      await until(() => runs === 1);
      await disconnect(client, way);
      returnAll();
      await turns();
      await expectNewcomer(mode, mode === 'failures' && isSubscription ? 2 : 1);
    },
  };
  /** Clients end subscriptions by leaving, which is no failure. */
  const isSubscription = name.startsWith('subscriptions');
  /** Whether the server reads the next message of a client only after it has answered. */
  const isPipelined = name.startsWith('HTTP/1') || /^GraphQL/.test(name);
  const ways = (Object.keys(WAYS) as Way[]).filter(
    (way) => way !== 'by resetting streams' || name.startsWith('HTTP/2'),
  );

  it.each(ways.flatMap((way) => (Object.keys(MOMENTS) as (keyof typeof MOMENTS)[]).map((moment) => ({ way, moment }))))(
    'take what they were admitted for, and leave nothing behind: $way $moment',
    async ({ way, moment }) => {
      for (const mode of Object.keys(MODES)) {
        runs = 0;
        await bucket(mode).reset();
        await MOMENTS[moment](mode, way);
      }
      // Nest's TCP server logs each connection that it loses.
      expect(logged.filter(([line]) => !/message from tcp server/.test(String(line)))).toEqual([]);
    },
  );
});

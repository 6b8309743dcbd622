import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { Redis } from 'ioredis';
import { RedisStore, type RedisStoreOptions } from 'nest-rate-limit';
import { parsePolicy } from '../../../src/core/policy.js';
import { type RedisServer, startRedis } from '../../support/redis.js';

const POLICY = parsePolicy({ capacity: 5, refill: 0 }, 'write-once');

describe('the commands of one turn of the event loop', () => {
  let server: RedisServer;
  let client: Redis;
  const stores: RedisStore[] = [];

  beforeAll(async () => {
    server = await startRedis();
    client = new Redis(server.url);
    // Loads the script; otherwise commands are sent again.
    await take(open(), 'first');
  });
  afterEach(async () => {
    for (const store of stores.splice(0)) store.close();
    await client.flushdb();
  });
  afterAll(async () => {
    client.disconnect();
    await server.kill();
  });

  function open(options: Partial<RedisStoreOptions> = {}): RedisStore {
    const store = new RedisStore({ client, ...options });
    stores.push(store);
    return store;
  }

  const take = (store: RedisStore, key: string) =>
    store.run({ verb: 'take', takes: [{ policy: POLICY, key, amount: 1000, maxWait: 0 }] });

  /** How many scripts the server has executed, and how often it has read from a socket. */
  async function counters(): Promise<{ calls: number; reads: number }> {
    const info = await client.info('all');
    const number = (pattern: RegExp) => Number(pattern.exec(info)?.[1] ?? 0);
    return { calls: number(/cmdstat_evalsha:calls=(\d+)/), reads: number(/total_reads_processed:(\d+)/) };
  }

  it.each<[string, Partial<RedisStoreOptions>]>([
    ['with `batch: false`', { batch: false }],
    ['with `sharded: true`', { sharded: true }],
    ['with both', { batch: false, sharded: true }],
  ])('are written at once %s', async (_, options) => {
    const store = open(options);
    const before = await counters();
    const answers = await Promise.all(Array.from({ length: 96 }, (_, i) => take(store, `key-${i}`)));
    const after = await counters();
    expect(answers.map(({ balance }) => balance)).toEqual(answers.map(() => 4));
    expect(after.calls - before.calls).toBe(96);
    // Three batches of 32, and INFO. A write larger than the server's buffer is read in several parts.
    expect(after.reads - before.reads).toBeLessThan(20);
  });

  it('are executed in the order of the requests', async () => {
    const store = open({ batch: false });
    const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => take(store, `key-${i % 7}`)));
    expect(answers.map(({ balance }) => balance)).toEqual(answers.map((_, i) => Math.max(0, 4 - Math.floor(i / 7))));
    expect(answers.map(({ allowed }) => allowed)).toEqual(answers.map((_, i) => i < 35));
  });

  it('are written although the client throws at one of them', async () => {
    const store = open({ batch: false });
    // Missing in the types of ioredis.
    const methods = client as unknown as { evalshaBuffer(...args: unknown[]): Promise<unknown> };
    const spy = jest.spyOn(methods, 'evalshaBuffer').mockImplementationOnce(() => {
      throw new Error('no command');
    });
    const [failed, ...others] = await Promise.allSettled(['a', 'b', 'c'].map((key) => take(store, key)));
    spy.mockRestore();
    expect(failed).toMatchObject({ status: 'rejected', reason: { message: expect.stringContaining('no command') } });
    expect(others).toMatchObject([{ value: { balance: 4 } }, { value: { balance: 4 } }]);
    expect(await take(store, 'd')).toMatchObject({ balance: 4 });
  });
});

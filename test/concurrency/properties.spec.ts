import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { type Bucket, MemoryStore, RateLimitExceededException, RateLimitStoreError, type Slot } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { slotsOf } from '../../src/concurrency/slots.js';
import { type Link, SlotProcess } from '../support/slot-process.js';

const PROCESSES = 3;
const SLOT_TTL = 3000;

type Step =
  | { readonly do: 'acquire'; readonly process: number; readonly key: number; readonly maxWait: number }
  | { readonly do: 'release' | 'abort'; readonly index: number }
  | { readonly do: 'link'; readonly process: number; readonly link: Link }
  | { readonly do: 'disconnect'; readonly process: number }
  | { readonly do: 'advance'; readonly ms: number };

const process = fc.nat(PROCESSES - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: acquire() },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('release' as const), index: fc.nat(10) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('abort' as const), index: fc.nat(10) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('link' as const), process, link: link() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('disconnect' as const), process }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('advance' as const),
      ms: fc.oneof(fc.nat(10), fc.nat(2000), fc.constant(SLOT_TTL + 500)),
    }),
  },
);

function acquire() {
  const maxWait = fc.constantFrom(0, 0, 1500, Infinity);
  return fc.record({ do: fc.constant('acquire' as const), process, key: fc.nat(1), maxWait });
}

function link() {
  return fc.constantFrom<Link>('up', 'lost calls', 'lost answers', 'late messages');
}

interface Held {
  readonly slot: Slot;
  readonly key: number;
}

/** Several processes with a bucket for each of two keys, and what they hold and await. */
class World {
  readonly clock = new FakeClock();
  private readonly shared = new MemoryStore({ clock: this.clock });
  readonly processes = Array.from({ length: PROCESSES }, () => new SlotProcess(this.shared));
  readonly held: Held[] = [];
  readonly waiting: AbortController[] = [];
  /** How many requests ended in each way. */
  readonly seen = { admitted: 0, denied: 0, aborted: 0, failed: 0 };
  readonly errors: unknown[] = [];

  constructor(readonly concurrency: number) {
    this.shared.close();
  }

  bucketOf(process: number, key: number): Bucket {
    const limit = { name: 'work', concurrency: this.concurrency, slotTtl: SLOT_TTL };
    return this.processes[process].buckets.bucket(limit, `key ${key}`);
  }

  acquire(process: number, key: number, maxWait: number): void {
    const abort = new AbortController();
    this.waiting.push(abort);
    const end = () => this.waiting.splice(this.waiting.indexOf(abort), 1);
    this.bucketOf(process, key)
      .acquire({ maxWait, signal: abort.signal })
      .then(
        (slot) => {
          this.seen.admitted++;
          this.held.push({ slot, key });
          end();
          this.check();
        },
        (error) => {
          end();
          if (error instanceof RateLimitExceededException) this.seen.denied++;
          else if (error instanceof RateLimitStoreError) this.seen.failed++;
          else if (abort.signal.aborted) this.seen.aborted++;
          else this.errors.push(error);
        },
      );
  }

  /** Never more than `concurrency` slots of a bucket are held, except lost ones. */
  check(): void {
    for (const key of [0, 1]) {
      const count = this.held.filter((one) => one.key === key && !one.slot.signal.aborted).length;
      if (count > this.concurrency) this.errors.push(new Error(`${count} slots of ${this.concurrency} are held`));
    }
  }

  async run(one: Step): Promise<void> {
    if (one.do === 'acquire') this.acquire(one.process, one.key, one.maxWait);
    else if (one.do === 'link') this.processes[one.process].link = one.link;
    else if (one.do === 'disconnect') await this.disconnect(one.process);
    else if (one.do === 'advance') await this.clock.advance(one.ms);
    else if (one.do === 'abort') this.waiting[one.index % this.waiting.length]?.abort();
    else await this.release(one.index);
  }

  /** Until the slots of the process are lost. */
  private async disconnect(process: number): Promise<void> {
    this.processes[process].link = 'lost calls';
    await this.clock.advance(SLOT_TTL + 500);
    this.processes[process].link = 'up';
  }

  private async release(index: number): Promise<void> {
    const [released] = this.held.splice(index % Math.max(1, this.held.length), 1);
    void released?.slot.release();
    void released?.slot.release();
  }

  /** Ends all waits, releases all slots, and lets the last reports arrive. */
  async end(): Promise<void> {
    for (const one of this.processes) one.link = 'up';
    await this.clock.advance(100);
    while (this.waiting.length + this.held.length > 0) {
      for (const abort of [...this.waiting]) abort.abort();
      await this.clock.advance(10);
      while (this.held.length > 0) await this.release(0);
    }
    await this.clock.advance(SLOT_TTL + 1000);
  }
}

describe('the slots of processes with calls and answers that get lost', () => {
  it('are never more than there are, and all come back', async () => {
    const seen: Record<string, number> = { lost: 0 };
    const countLost = () => seen.lost++;
    subscribe('nest-rate-limit:slot-lost', countLost);
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3 }),
        fc.array(step, { minLength: 10, maxLength: 60 }),
        async (concurrency, steps) => {
          const world = new World(concurrency);
          for (const one of steps) await world.run(one);
          await world.end();
          expect(world.errors).toEqual([]);
          for (const [name, count] of Object.entries(world.seen)) seen[name] = (seen[name] ?? 0) + count;
          for (const key of [0, 1]) {
            const available = world.bucketOf(0, key).available();
            await world.clock.advance(10);
            expect(await available).toBe(concurrency);
          }
          expect(world.processes.map((one) => slotsOf(one).size)).toEqual([0, 0, 0]);
          expect(world.clock.sleeping).toBe(0);
        },
      ),
      { numRuns: 250 },
    );
    unsubscribe('nest-rate-limit:slot-lost', countLost);
    // Each outcome has been seen often enough.
    for (const name of ['admitted', 'denied', 'aborted', 'failed', 'lost'])
      expect({ [name]: seen[name] > 20 }).toEqual({ [name]: true });
  }, 120_000);

  it('are granted in the order of arrival, within a process', async () => {
    let waits = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3 }),
        fc.array(fc.boolean(), { minLength: 20, maxLength: 40 }),
        async (limit, steps) => {
          const world = new World(limit);
          const order: number[] = [];
          const slots: Slot[] = [];
          let count = 0;
          for (const isAcquire of steps) {
            if (isAcquire) {
              const number = count++;
              void world
                .bucketOf(0, 0)
                .acquire()
                .then((slot) => {
                  order.push(number);
                  slots.push(slot);
                });
            } else {
              void slots.shift()?.release();
            }
            await world.clock.advance(3);
          }
          await world.clock.advance(1000);
          waits += count - order.length;
          expect(order).toEqual([...order.keys()]);
        },
      ),
      { numRuns: 50 },
    );
    expect(waits).toBeGreaterThan(20);
  });
});

import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { BucketService } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import type { Bucket } from '../../src/bucket/bucket.js';
import type { ReplaceStrategy } from '../../src/core/algorithms/algorithm.js';
import { plainAnswer } from '../../src/core/answer.js';
import { type LimitOptions, parsePolicy } from '../../src/core/policy.js';
import type { Take } from '../../src/core/request.js';
import type { RateLimitStore } from '../../src/stores/rate-limit.store.js';
import {
  checkProperty,
  fractions,
  largeWindowLimits,
  pauses,
  START,
  smallLimits,
  sometimesSoft,
  storeKinds,
} from '../support/store-subject.js';

const { memory, redis } = storeKinds();
const limitSets = fc.array(
  sometimesSoft(fc.oneof({ arbitrary: smallLimits, weight: 4 }, { arbitrary: largeWindowLimits, weight: 1 })),
  { minLength: 1, maxLength: 3 },
);
const STRATEGIES = ['reset', 'as-is', 'proportionally', 'additive'] as const;

type Step = { readonly op: string; readonly pause: number; readonly key: string; readonly n: number } & Record<
  string,
  unknown
>;

const forward = {
  pause: fc.oneof(fc.constant(0), fc.constant(0), fc.integer({ min: 0, max: 9 }), pauses),
  key: fc.constantFrom('a', 'b'),
};
/** Uses one key only: requests for another key would remove full buckets, which a step back makes less than full. */
const withStepsBack = {
  pause: fc.oneof(
    { arbitrary: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 12 })), weight: 12 },
    { arbitrary: fc.integer({ min: -300, max: -1 }), weight: 1 },
  ),
  key: fc.constant('a'),
};

/** Random sequences of every operation. */
const scripts = ({ pause, key }: typeof forward): fc.Arbitrary<Step[]> =>
  fc.array(
    fc
      .tuple(
        fc.record({
          pause,
          key,
          n: fc.oneof({ arbitrary: fractions, weight: 12 }, { arbitrary: fc.integer({ min: 7, max: 250 }), weight: 1 }),
        }),
        fc.oneof(
          { arbitrary: fc.constant({ op: 'decide' }), weight: 6 },
          {
            arbitrary: fc.constantFrom('estimate', 'available', 'put', 'charge', 'consumeUpTo').map((op) => ({ op })),
            weight: 5,
          },
          {
            arbitrary: fc.record({ op: fc.constant('consume'), maxWait: fc.constantFrom(0, 20, 1000, Infinity) }),
            weight: 6,
          },
          {
            arbitrary: fc.record({ op: fc.constant('take'), maxWait: fc.constantFrom(0, 0, 20, Infinity) }),
            weight: 8,
          },
          {
            arbitrary: fc.record({
              op: fc.constantFrom('put', 'put', 'charge', 'cancel').map((verb) => `settle by ${verb}`),
              which: fc.nat(40),
            }),
            weight: 4,
          },
          { arbitrary: fc.record({ op: fc.constant('abort'), which: fc.nat(20) }), weight: 2 },
          { arbitrary: fc.record({ op: fc.constant('block'), duration: fc.integer({ min: 1, max: 100 }) }), weight: 1 },
          { arbitrary: fc.constantFrom('unblock', 'reset', 'all').map((op) => ({ op })), weight: 2 },
          {
            arbitrary: fc.record({
              op: fc.constant('replace'),
              limits: limitSets,
              strategy: fc.constantFrom(...STRATEGIES),
            }),
            weight: 1,
          },
        ),
      )
      .map(([common, own]) => ({ ...common, ...own })),
    { minLength: 35, maxLength: 60, size: 'max' },
  );

/** Runs a script against one store, and records every answer with the time at which it arrived. */
class Run {
  readonly answers: unknown[] = [];
  readonly counts = { delayed: 0, denied: 0, aborted: 0, replaced: 0, settled: 0 };
  private readonly clock = new FakeClock(START);
  private readonly store: RateLimitStore;
  private readonly buckets: BucketService;
  private readonly handles = new Map<string, Bucket>();
  private readonly marked: { readonly take: Take; readonly actAt: readonly number[] | undefined }[] = [];
  private readonly waiters: { abort: AbortController; end: Promise<unknown>; settled: boolean }[] = [];

  constructor(
    make: (clock: FakeClock) => RateLimitStore,
    private readonly options: LimitOptions,
  ) {
    this.store = make(this.clock);
    this.buckets = new BucketService(this.store);
  }

  async script(script: readonly Step[]): Promise<this> {
    for (const [index, step] of script.entries()) {
      if (step.pause < 0) this.clock.set(this.clock.now() + step.pause);
      else await this.clock.advance(step.pause);
      this.answers.push([index, step.op, this.clock.now(), await this.call(step).catch((error) => this.record(error))]);
    }
    for (const waiter of this.waiters.filter(({ settled }) => !settled)) waiter.abort.abort(new Error('end'));
    await Promise.all(this.waiters.map(({ end }) => end));
    return this;
  }

  private async call(step: Step): Promise<unknown> {
    const { key, n } = step;
    const bucket = this.handles.get(key) ?? this.buckets.bucket(this.options, key);
    switch (step.op) {
      case 'decide':
      case 'estimate':
      case 'charge':
        return this.record(await bucket[step.op](n));
      case 'consumeUpTo':
      case 'put':
        return bucket[step.op](n);
      case 'available':
      case 'reset':
      case 'unblock':
        return bucket[step.op]();
      case 'block':
        return bucket.block(step.duration as number);
      case 'consume':
        return this.consume(bucket, n, step.maxWait as number);
      case 'take':
        return this.takeMarked(key, n, step.maxWait as number);
      case 'settle by put':
      case 'settle by charge':
      case 'settle by cancel':
        return this.settle(step.op.slice(10) as 'put', n, step.which as number);
      case 'abort':
        return this.abort(step.which as number);
      case 'replace': {
        const next = await bucket.replacePolicy(
          { limits: step.limits as LimitOptions['limits'] },
          step.strategy as ReplaceStrategy,
        );
        this.handles.set(key, next);
        this.counts.replaced++;
        return next.available();
      }
      default: {
        const policies = ['p', 'q'].map((name) => ({ policy: { ...this.options, name }, key, n }));
        if (key === 'b') policies.push({ policy: { ...this.options, name: 'p' }, key: 'a', n });
        return this.record(await this.buckets.decideAll(policies));
      }
    }
  }

  /** Resolves once the call is queued or has settled; its outcome is recorded when it settles. */
  private async consume(bucket: Bucket, n: number, maxWait: number): Promise<string> {
    const abort = new AbortController();
    const sleeping = this.clock.sleeping;
    const waiter = { abort, settled: false, end: Promise.resolve() as Promise<unknown> };
    waiter.end = bucket
      .consume(n, { maxWait, signal: abort.signal })
      .catch((error) => error)
      .then((answer) => {
        waiter.settled = true;
        this.answers.push(['consumed', n, this.clock.now(), this.record(answer)]);
      });
    this.waiters.push(waiter);
    while (!waiter.settled && this.clock.sleeping === sleeping) await new Promise(setImmediate);
    if (!waiter.settled) this.counts.delayed++;
    return waiter.settled ? 'settled' : 'queued';
  }

  private async takeMarked(key: string, n: number, maxWait: number): Promise<unknown> {
    const policy = parsePolicy(this.options, 'property');
    const take = { policy, key, amount: Math.round(n * 1000), maxWait, mark: this.marked.length };
    const answer = await this.store.run({ verb: 'take', takes: [take] });
    if (answer.allowed) this.marked.push({ take, actAt: answer.actAt });
    return this.record(plainAnswer(answer));
  }

  /** Settles a take, which may already be settled, by a part of what it took or all of it. */
  private async settle(verb: 'put' | 'charge' | 'cancel', n: number, which: number): Promise<unknown> {
    const marked = this.marked[which % (this.marked.length || 1)];
    if (!marked || (verb === 'cancel' && !marked.actAt)) return 'none';
    const amount = verb === 'cancel' ? marked.take.amount : Math.min(marked.take.amount, Math.round(n * 1000));
    const { actAt } = verb === 'cancel' ? marked : { actAt: undefined };
    this.counts.settled++;
    return plainAnswer(await this.store.run({ verb, takes: [{ ...marked.take, amount }], actAt }));
  }

  private async abort(which: number): Promise<string> {
    const queued = this.waiters.filter(({ settled }) => !settled);
    if (queued.length === 0) return 'none';
    this.counts.aborted++;
    const waiter = queued[which % queued.length];
    waiter.abort.abort(new Error('aborted'));
    await waiter.end;
    return 'aborted';
  }

  private record(answer: unknown): unknown {
    if (!(answer instanceof Object)) return answer;
    if ('decision' in answer) return ['denied', this.record(answer.decision)];
    if (answer instanceof Error) return `${answer.name}: ${answer.message}`;
    if ('allowed' in answer && !answer.allowed) this.counts.denied++;
    return answer;
  }
}

describe('MemoryStore and RedisStore', () => {
  it.each([
    ['for the same operations', forward],
    ['even if the clock steps back', withStepsBack],
  ])('return the same answers %s', (_, time) =>
    checkProperty(
      180,
      0.2,
      fc.tuple(limitSets, fc.option(fc.integer({ min: 1, max: 50 }), { nil: undefined }), scripts(time)),
      async ([limits, block, script], cover) => {
        const options: LimitOptions = { name: 'property', limits, block };
        const [inMemory, inRedis] = await Promise.all(
          [memory, redis].map((kind) => new Run((clock) => kind.make(clock), options).script(script)),
        );
        expect(inRedis.answers).toEqual(inMemory.answers);
        const { delayed, denied, settled } = inMemory.counts;
        if (delayed > 0 && denied > 0 && settled > 0) cover();
      },
    ),
  );
});

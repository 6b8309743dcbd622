import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { BucketService } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import type { Bucket } from '../../src/bucket/bucket.js';
import type { LimitOptions } from '../../src/core/policy.js';
import type { ReplaceStrategy } from '../../src/core/replace.js';
import type { RateLimitStore } from '../../src/stores/rate-limit.store.js';
import {
  bucketLimits,
  fractions,
  largeWindowLimits,
  law,
  pauses,
  storeKinds,
  windowLimits,
} from '../support/store-subject.js';

const { memory, redis } = storeKinds();
const settings = fc.array(fc.oneof(bucketLimits, bucketLimits, windowLimits, windowLimits, largeWindowLimits), {
  minLength: 1,
  maxLength: 3,
});
const STRATEGIES = ['reset', 'as-is', 'proportionally', 'additive'] as const;

type Step = { readonly op: string; readonly pause: number; readonly key: string; readonly n: number } & Record<
  string,
  unknown
>;

const forward = {
  pause: fc.oneof(fc.constant(0), fc.constant(0), fc.integer({ min: 0, max: 9 }), pauses),
  key: fc.constantFrom('a', 'b'),
};
/** With one key only: what is full is forgotten when others come, and a step back would bring it back. */
const alsoBack = {
  pause: fc.oneof(
    { arbitrary: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 12 })), weight: 12 },
    { arbitrary: fc.integer({ min: -300, max: -1 }), weight: 1 },
  ),
  key: fc.constant('a'),
};

/** All that can be asked, in random order. */
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
            weight: 5,
          },
          { arbitrary: fc.record({ op: fc.constant('abort'), which: fc.nat(20) }), weight: 2 },
          { arbitrary: fc.record({ op: fc.constant('block'), duration: fc.integer({ min: 1, max: 100 }) }), weight: 1 },
          { arbitrary: fc.constantFrom('unblock', 'reset', 'all').map((op) => ({ op })), weight: 2 },
          {
            arbitrary: fc.record({
              op: fc.constant('replace'),
              limits: settings,
              strategy: fc.constantFrom(...STRATEGIES),
            }),
            weight: 1,
          },
        ),
      )
      .map(([common, own]) => ({ ...common, ...own })),
    { minLength: 25, maxLength: 45, size: 'max' },
  );

/** Runs a script on one store and writes down every answer and the instant at which it came. */
class Run {
  readonly answers: unknown[] = [];
  readonly counts = { delayed: 0, refused: 0, aborted: 0, replaced: 0 };
  private readonly clock = new FakeClock();
  private readonly store: RateLimitStore;
  private readonly buckets: BucketService;
  private readonly handles = new Map<string, Bucket>();
  private readonly waiting: { abort: AbortController; end: Promise<unknown>; over: boolean }[] = [];

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
      this.answers.push([index, step.op, this.clock.now(), await this.call(step).catch((error) => this.told(error))]);
    }
    for (const one of this.waiting.filter(({ over }) => !over)) one.abort.abort(new Error('end'));
    await Promise.all(this.waiting.map(({ end }) => end));
    return this;
  }

  private async call(step: Step): Promise<unknown> {
    const { key, n } = step;
    const bucket = this.handles.get(key) ?? this.buckets.bucket(this.options, key);
    switch (step.op) {
      case 'decide':
      case 'estimate':
      case 'charge':
        return this.told(await bucket[step.op](n));
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
        return this.told(await this.buckets.decideAll(policies));
      }
    }
  }

  /** Answers as soon as the call sleeps or is over; its end is written down when it comes. */
  private async consume(bucket: Bucket, n: number, maxWait: number): Promise<string> {
    const abort = new AbortController();
    const asleep = this.clock.sleeping;
    const one = { abort, over: false, end: Promise.resolve() as Promise<unknown> };
    one.end = bucket
      .consume(n, { maxWait, signal: abort.signal })
      .catch((error) => error)
      .then((answer) => {
        one.over = true;
        this.answers.push(['consumed', n, this.clock.now(), this.told(answer)]);
      });
    this.waiting.push(one);
    while (!one.over && this.clock.sleeping === asleep) await new Promise(setImmediate);
    if (!one.over) this.counts.delayed++;
    return one.over ? 'over' : 'waits';
  }

  private async abort(which: number): Promise<string> {
    const asleep = this.waiting.filter(({ over }) => !over);
    if (asleep.length === 0) return 'nobody';
    this.counts.aborted++;
    const one = asleep[which % asleep.length];
    one.abort.abort(new Error('aborted'));
    await one.end;
    return 'aborted';
  }

  private told(answer: unknown): unknown {
    if (!(answer instanceof Object)) return answer;
    if ('decision' in answer) return ['refused', this.told(answer.decision)];
    if (answer instanceof Error) return `${answer.name}: ${answer.message}`;
    if ('allowed' in answer && !answer.allowed) this.counts.refused++;
    return answer;
  }
}

describe('5. the twins', () => {
  it.each([
    ['to the same script', forward],
    ['also when the clock steps back', alsoBack],
  ])('give the same answers %s', (_, time) =>
    law(
      180,
      0.2,
      fc.tuple(settings, fc.option(fc.integer({ min: 1, max: 50 }), { nil: undefined }), scripts(time)),
      async ([limits, block, script], held) => {
        const options: LimitOptions = { name: 'twin', limits, block };
        const [one, other] = await Promise.all(
          [memory, redis].map((kind) => new Run((clock) => kind.make(clock), options).script(script)),
        );
        expect(other.answers).toEqual(one.answers);
        if (one.counts.delayed > 0 && one.counts.refused > 0) held();
      },
    ),
  );
});

import assert from 'node:assert/strict';
import type { Bucket } from '../bucket/bucket.js';
import type { BucketService } from '../bucket/bucket.service.js';
import { TokenBucket } from '../bucket/token-bucket.js';
import type { LimitOptions } from '../core/policy.js';
import { systemClock } from '../util/clock.js';
import type { FakeClock } from './fake-clock.js';
import type { Outcome, Step, Vector } from './vector.js';
import { callBucket, callTokenBucket } from './vector-calls.js';
import { checkOutcome } from './vector-expectations.js';

/** A call in progress, or settled if it has an outcome. */
interface StartedCall {
  readonly step: Step;
  readonly abort: AbortController;
  outcome?: Outcome;
}

/** Makes the calls of a vector at their times, and checks each result. */
export async function runVector(vector: Vector, buckets: BucketService, clock: FakeClock): Promise<void> {
  await new VectorRunner(vector, buckets, clock).run();
}

class VectorRunner {
  private readonly started: number;
  private readonly calls: StartedCall[] = [];
  /** Buckets whose policy has been replaced, by key. */
  private readonly replaced = new Map<string, Bucket>();
  /** The slots that are held, by the `ref` of the step that took them. */
  private readonly slots = new Map<string, { release(): Promise<void> }>();
  private readonly tokenBucket: TokenBucket | undefined;

  constructor(
    private readonly vector: Vector,
    private readonly buckets: BucketService,
    private readonly clock: FakeClock,
  ) {
    this.started = clock.now();
    const { construct } = vector;
    this.tokenBucket = construct && new TokenBucket(construct.capacity, construct.tokensPerSecond, { clock });
  }

  async run(): Promise<void> {
    for (const [index, step] of this.vector.steps.entries()) {
      await this.advanceTo(this.started + step.at);
      await this.start(step, index);
    }
    // Lets the remaining calls finish. A reply in flight may settle one, so the clock advances only after that.
    while (this.pending().length > 0) {
      await this.untilSleeping();
      await sleepRealTime(20);
      if (this.pending().length === 0) break;
      assert.ok(Number.isFinite(this.clock.nextWake), `vector ${this.vector.id}: a call sleeps forever`);
      await this.advanceTo(this.clock.nextWake);
    }
    for (const { step, outcome } of this.calls) checkOutcome(step, outcome as Outcome, this.started);
  }

  private pending(): StartedCall[] {
    return this.calls.filter(({ outcome }) => outcome === undefined);
  }

  private async advanceTo(time: number): Promise<void> {
    while (this.clock.nextWake <= time) {
      await this.clock.advance(Math.max(0, this.clock.nextWake - this.clock.now()));
      await this.untilSleeping();
    }
    await this.clock.advance(time - this.clock.now());
  }

  /** Resolves when every pending call sleeps on the clock. */
  private async untilSleeping(): Promise<void> {
    for (let turn = 0; this.pending().length > this.clock.sleeping; turn++) {
      assert.ok(turn < 5000, `vector ${this.vector.id}: a call neither settles nor sleeps on the clock`);
      await sleepRealTime(turn < 20 ? 0 : 1);
    }
  }

  private async start(step: Step, index: number): Promise<void> {
    if (step.op === 'release') return this.slots.get(step.ref as string)?.release();
    if (step.op === 'abort') {
      this.calls.find((started) => started.step.ref === step.ref)?.abort.abort(new Error('aborted'));
      return this.untilSleeping();
    }
    const abort = new AbortController();
    if (step.preAborted) abort.abort(new Error('aborted'));
    const started: StartedCall = { step, abort };
    this.calls.push(started);
    const ended = this.call(step, abort.signal).then(
      (value) => {
        started.outcome = { value, at: this.clock.now() };
      },
      (error) => {
        started.outcome = { error, at: this.clock.now() };
      },
    );
    // It never sleeps, but held slots do, to be renewed.
    if (step.op === 'tryAcquire') await ended;
    await this.untilSleeping();
    if (started.outcome) checkOutcome(step, started.outcome, this.started, `step ${index}`);
  }

  private async call(step: Step, signal: AbortSignal): Promise<unknown> {
    if (step.op === 'construct') return new TokenBucket(...(step.args as [number, number]));
    if (this.tokenBucket) return callTokenBucket(this.tokenBucket, step, signal);
    const key = step.key ?? 'key';
    const bucket = this.replaced.get(key) ?? this.buckets.bucket(this.vector.policy as LimitOptions, key);
    if (step.op === 'loop') return this.loop(bucket, step);
    if (step.op === 'tryAcquire') return this.tryAcquire(bucket, step);
    const value = await callBucket(bucket, step, signal);
    if (step.op !== 'replacePolicy') return value;
    this.replaced.set(key, value as Bucket);
    return undefined;
  }

  private async tryAcquire(bucket: Bucket, { ref = '' }: Step): Promise<unknown> {
    const slot = await bucket.tryAcquire();
    if (slot) this.slots.set(ref, slot);
    return { allowed: slot !== undefined };
  }

  /** Makes `count` takes, `every` ms apart. */
  private async loop(bucket: Bucket, { n, count, every, onRefused }: Step): Promise<unknown> {
    let allowedTotal = 0;
    for (let i = 0; i < (count as number); i++) {
      if (i > 0) await this.clock.advance(every ?? 0);
      let decision = await bucket.decide(n);
      if (!decision.allowed && onRefused === 'wait') {
        await this.clock.advance(decision.retryAfter);
        decision = await bucket.decide(n);
      }
      if (decision.allowed) allowedTotal++;
    }
    return { allowedTotal };
  }
}

/** Sleeps on a timer that keeps the process alive; otherwise it could exit before the suite has finished. */
function sleepRealTime(ms: number): Promise<void> {
  return ms === 0 ? new Promise((resolve) => setImmediate(resolve)) : systemClock.sleep(ms);
}

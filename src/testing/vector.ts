import assert from 'node:assert/strict';
import type { Bucket } from '../bucket/bucket.js';
import type { BucketService } from '../bucket/bucket.service.js';
import { TokenBucket } from '../bucket/token-bucket.js';
import type { LimitOptions } from '../core/policy.js';
import type { ReplaceStrategy } from '../core/replace.js';
import { RateLimitExceededException } from '../exceptions/rate-limit.exception.js';
import { systemClock } from '../util/clock.js';
import type { FakeClock } from './fake-clock.js';

/** A script of calls with their exact answers. */
export interface Vector {
  readonly id: string;
  readonly note: string;
  readonly policy?: LimitOptions;
  readonly construct?: { readonly capacity: number; readonly tokensPerSecond: number };
  readonly steps: readonly Step[];
}

type Expected = Readonly<Record<string, unknown>>;

interface Step {
  readonly at: number;
  readonly op: string;
  readonly n?: number;
  readonly key?: string;
  readonly ref?: string;
  readonly maxWait?: number;
  readonly timeout?: number;
  readonly duration?: number;
  readonly count?: number;
  readonly every?: number;
  readonly onRefused?: 'wait';
  readonly policy?: LimitOptions;
  readonly strategy?: ReplaceStrategy;
  readonly preAborted?: boolean;
  readonly args?: readonly [number, number];
  readonly expect?: Expected;
}

/** How a call ended, and when by the clock. */
interface Outcome {
  value?: unknown;
  error?: unknown;
  at: number;
}

interface Running {
  readonly step: Step;
  readonly abort: AbortController;
  outcome?: Outcome;
}

/** Runs the calls of a vector at their instants and checks each answer. */
export async function runVector(vector: Vector, buckets: BucketService, clock: FakeClock): Promise<void> {
  await new VectorRun(vector, buckets, clock).run();
}

class VectorRun {
  private readonly started: number;
  private readonly running: Running[] = [];
  private readonly handles = new Map<string, Bucket>();
  private readonly local: TokenBucket | undefined;

  constructor(
    private readonly vector: Vector,
    private readonly buckets: BucketService,
    private readonly clock: FakeClock,
  ) {
    this.started = clock.now();
    const { construct } = vector;
    this.local = construct && new TokenBucket(construct.capacity, construct.tokensPerSecond, { clock });
  }

  async run(): Promise<void> {
    for (const [index, step] of this.vector.steps.entries()) {
      await this.advanceTo(this.started + step.at);
      await this.start(step, index);
    }
    // Whoever still waits is let run: first on what is on its way to him, then on the clock.
    while (this.waiting().length > 0) {
      await this.quiet();
      await realTime(20);
      if (this.waiting().length === 0) break;
      assert.ok(Number.isFinite(this.clock.nextWake), 'somebody waits for ever');
      await this.advanceTo(this.clock.nextWake);
    }
    for (const { step, outcome } of this.running) check(step, outcome as Outcome, this.started);
  }

  private waiting(): Running[] {
    return this.running.filter(({ outcome }) => outcome === undefined);
  }

  private async advanceTo(time: number): Promise<void> {
    while (this.clock.nextWake <= time) {
      await this.clock.advance(Math.max(0, this.clock.nextWake - this.clock.now()));
      await this.quiet();
    }
    await this.clock.advance(time - this.clock.now());
  }

  /** Until all who have no answer yet sleep on the clock. */
  private async quiet(): Promise<void> {
    for (let turn = 0; this.waiting().length > this.clock.sleeping; turn++) {
      assert.ok(turn < 5000, 'no answer');
      await realTime(turn < 20 ? 0 : 1);
    }
  }

  private async start(step: Step, index: number): Promise<void> {
    const abort = new AbortController();
    if (step.preAborted) abort.abort(new Error('aborted'));
    if (step.op === 'abort') {
      this.running.find((running) => running.step.ref === step.ref)?.abort.abort(new Error('aborted'));
      return this.quiet();
    }
    const running: Running = { step, abort };
    this.running.push(running);
    this.call(step, abort.signal).then(
      (value) => {
        running.outcome = { value, at: this.clock.now() };
      },
      (error) => {
        running.outcome = { error, at: this.clock.now() };
      },
    );
    await this.quiet();
    if (running.outcome) check(step, running.outcome, this.started, `step ${index}`);
  }

  private async call(step: Step, signal: AbortSignal): Promise<unknown> {
    const { op, n } = step;
    if (op === 'construct') return new TokenBucket(...(step.args as [number, number]));
    if (this.local) return this.callLocal(this.local, step, signal);
    const key = step.key ?? 'key';
    const bucket = this.handles.get(key) ?? this.buckets.bucket(this.vector.policy as LimitOptions, key);
    switch (op) {
      case 'tryConsume':
        return { allowed: await bucket.tryConsume(n) };
      case 'decide':
      case 'estimate':
      case 'charge':
      case 'put':
        return bucket[op](n);
      case 'available':
        return { available: await bucket.available() };
      case 'consumeUpTo':
        return { consumed: await bucket.consumeUpTo(n as number) };
      case 'block':
        return bucket.block(step.duration as number);
      case 'reset':
      case 'unblock':
        return bucket[op]();
      case 'consume':
        return bucket.consume(n, { maxWait: step.maxWait, signal });
      case 'watch':
        return bucket.watch(n, { timeout: step.timeout, signal });
      case 'replacePolicy':
        this.handles.set(
          key,
          await bucket.replacePolicy(step.policy as LimitOptions, step.strategy as ReplaceStrategy),
        );
        return undefined;
      case 'burst': {
        const answers = await Promise.all(Array.from({ length: step.count as number }, () => bucket.tryConsume(n)));
        return { allowedTotal: answers.filter((allowed) => allowed).length };
      }
      case 'loop':
        return this.loop(bucket, step);
      default:
        throw new Error(`Unknown op ${op}`);
    }
  }

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

  private async callLocal(local: TokenBucket, { op, n, timeout }: Step, signal: AbortSignal): Promise<unknown> {
    switch (op) {
      case 'allow':
      case 'tryConsume':
        return { allowed: local[op](n) };
      case 'available':
        return { available: local.available };
      case 'wait':
        return local.wait(n, { timeout, signal });
      default:
        throw new Error(`Unknown op ${op}`);
    }
  }
}

const AMOUNTS = ['remaining', 'available'];

function check(step: Step, outcome: Outcome, started: number, where = ''): void {
  const { value, error, at } = outcome;
  const say = `${where} ${JSON.stringify(step)} ended with ${JSON.stringify(error ?? value)} at ${at - started}`;
  const { expect = {} } = step;
  if (expect.error !== undefined) {
    assert.equal((error as Error | undefined)?.name, expect.error, say);
    assert.equal((error as Error).message, expect.message, say);
    return;
  }
  if (expect.aborted) return assert.equal((error as Error | undefined)?.message, 'aborted', say);
  if (expect.rejected) {
    if (step.op === 'watch') assert.equal((error as Error | undefined)?.name, 'TimeoutError', say);
    else assert.ok(error instanceof RateLimitExceededException, say);
    assert.ok(at - started <= step.at + (step.op === 'watch' ? (step.timeout ?? 0) : 0), say);
    if (expect.retryAfter !== undefined) {
      assert.equal((error as RateLimitExceededException).decision.retryAfter, numberOf(expect.retryAfter), say);
    }
    return;
  }
  assert.equal(error, undefined, say);
  for (const [name, wanted] of Object.entries(expect)) {
    if (name === 'delay') {
      assert.equal(at - started - step.at, wanted, say);
      continue;
    }
    const got = (value as Record<string, unknown>)[name];
    if (AMOUNTS.includes(name)) assert.ok(Math.abs((got as number) - (wanted as number)) <= 1e-6, `${name}: ${say}`);
    else assert.equal(got, numberOf(wanted), `${name}: ${say}`);
  }
}

function numberOf(value: unknown): unknown {
  return value === 'Infinity' ? Infinity : value;
}

/** On a timer that keeps the process alive: where nothing else does, the suite would end midway, as if it passed. */
function realTime(ms: number): Promise<void> {
  return ms === 0 ? new Promise((resolve) => setImmediate(resolve)) : systemClock.sleep(ms);
}

import type { ReplaceStrategy } from '../core/algorithms/algorithm.js';
import type { LimitOptions } from '../core/policy.js';

/** A test vector: a script of calls with exact expected results. */
export interface Vector {
  readonly id: string;
  readonly note: string;
  /** The policy of the bucket under test. */
  readonly policy?: LimitOptions;
  /** Arguments of the `TokenBucket` under test, instead of a policy. */
  readonly construct?: { readonly capacity: number; readonly tokensPerSecond: number };
  readonly steps: readonly Step[];
}

/** One call of a vector. */
export interface Step {
  /** Milliseconds after the start of the vector. */
  readonly at: number;
  /** The method to call, or an operation of the runner. */
  readonly op: string;
  readonly n?: number;
  readonly key?: string;
  /** Names the step, so that a later `abort` or `release` step can refer to it. */
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
  readonly expect?: Readonly<Record<string, unknown>>;
}

/** The result of a call, and the time of the clock when it settled. */
export interface Outcome {
  readonly value?: unknown;
  readonly error?: unknown;
  readonly at: number;
}

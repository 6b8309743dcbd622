import type { ExecutionContext, Type } from '@nestjs/common';
import type { Decision } from '../core/decision.js';
import type { LimitOptions } from '../core/policy.js';
import type { FailureMode } from '../core/request.js';
import type { Duration } from '../util/duration.js';
import type { MaybePromise } from '../util/maybe-promise.js';

/** An injectable class that tells something of a request. */
export interface Resolver<T> {
  /** The answer for this request, at once or later. */
  resolve(context: ExecutionContext): MaybePromise<T>;
}

/** A constant, a function of the request, or an injectable class (a provider of any module). */
export type Resolvable<T> = T | ((context: ExecutionContext) => MaybePromise<T>) | Type<Resolver<T>>;

/** What a request came to. Over HTTP `status` is what the client got; elsewhere it is 200, or the error's. */
export interface Outcome {
  readonly value?: unknown;
  readonly error?: unknown;
  readonly status: number;
  readonly durationMs: number;
}

/** Tells what a refused request gets instead; `undefined` refuses it. */
export interface LimitedResolver {
  resolve(context: ExecutionContext, decision: Decision): unknown;
}

/** The same as a function, or an injectable class (a provider of any module). */
export type OnLimited = LimitedResolver['resolve'] | Type<LimitedResolver>;

/** What `@RateLimit` takes. */
export interface RateLimitOptions extends LimitOptions {
  /** Whose bucket; default the module's `key`, by default the client's address. Never empty. */
  key?: Resolvable<string | null | undefined>;
  /** Tokens that a request takes; default 1, at most three decimals, whole for a window. 0 skips the policy. */
  cost?: Resolvable<number>;
  /** `true` takes this policy out for the request. */
  skip?: Resolvable<boolean>;
  /** The longest time that a request may wait in line instead of being refused; default: not at all. */
  maxWait?: Duration;
  /**
   * What a request costs in the end, known when it has been answered: `'failures'` gives the cost back after a success
   * (status below 400), `'successes'` after a failure; a function returns the real cost (0 or more).
   */
  settle?: 'failures' | 'successes' | ((context: ExecutionContext, outcome: Outcome) => MaybePromise<number>);
  /** Counts and is observed, but never refuses and shows the client nothing. */
  dryRun?: boolean;
  /** The refusal's `message`, default `'Too Many Requests'`; its whole body if it is an object; or what tells them. */
  message?: string | object | ((context: ExecutionContext, decision: Decision) => string | object);
  /**
   * Asked when a request is to be refused: what it returns (a value, a promise, an Observable) is answered as if the
   * handler had returned it. After `undefined` the request is refused; what it throws is the answer.
   */
  onLimited?: OnLimited;
  /** Instead of the module's `failure.mode`. */
  onStoreError?: FailureMode;
  /** On a class: a bucket for each handler instead of one for all. */
  perHandler?: boolean;
}

/** A policy per request: the name of one in `forRoot`, or options. */
export type PolicyResolver = Resolvable<string | RateLimitOptions>;

/** What one `@RateLimit` decorator was given. */
export type RateLimitInput = RateLimitOptions | readonly RateLimitOptions[] | PolicyResolver;

/** One of a list of them. */
export type Single = Exclude<RateLimitInput, readonly unknown[]>;

/** An empty list stays, so that it is found wrong and not taken for nothing at all. */
export function takenApart(given: unknown): Single[] {
  return Array.isArray(given) && given.length > 0 ? given : [given as Single];
}

import type { ExecutionContext, Type } from '@nestjs/common';
import type { Decision } from '../core/decision.js';
import type { NamedLimit } from '../core/limit.js';
import type { LimitOptions } from '../core/policy.js';
import type { FailureMode } from '../core/request.js';
import type { Duration } from '../util/duration.js';
import type { MaybePromise } from '../util/maybe-promise.js';

/** An injectable class that resolves an option for each request. */
export interface Resolver<T> {
  /** Returns the value for this request, or a promise of it. */
  resolve(context: ExecutionContext): MaybePromise<T>;
}

/** A constant, a function of the `ExecutionContext`, or an injectable class (a provider of any module). */
export type Resolvable<T> = T | ((context: ExecutionContext) => MaybePromise<T>) | Type<Resolver<T>>;

/** The key of a bucket: a constant string, or a string or number that is resolved for each request. */
export type KeyOption = Exclude<Resolvable<string | number | bigint | null | undefined>, number | bigint | null>;

/**
 * The outcome of a request. Over HTTP `status` is that of the response; elsewhere it is 200, or that of the error with
 * which the interceptors of handler and class answer. It is 499 if the client has disconnected.
 */
export interface Outcome {
  /** What the handler returned, the last time it was called; the last value of an Observable. */
  readonly value?: unknown;
  /** What the handler threw. `ClientGoneError` if its client disconnected first. */
  readonly error?: unknown;
  readonly status: number;
  /** Milliseconds from the admission to the end of the request. */
  readonly durationMs: number;
}

/** An injectable class for `onLimited`. */
export interface LimitedResolver {
  /** Returns the response to send instead of a rejection; `undefined` rejects the request. */
  resolve(context: ExecutionContext, decision: Decision): unknown;
}

/** A function that returns the response to send instead of a rejection, or an injectable class (a provider of any module). */
export type OnLimited = LimitedResolver['resolve'] | Type<LimitedResolver>;

/** Corrects the cost of a request after it was answered. */
export type SettleOption =
  | 'failures'
  | 'successes'
  | ((context: ExecutionContext, outcome: Outcome) => MaybePromise<number>);

/** One of several limits of a policy for requests. */
export interface RequestLimit extends NamedLimit {
  /** Tokens that a request takes from this limit; default: the policy's `cost`. */
  cost?: Resolvable<number>;
  /**
   * Corrects the cost of this limit. Default: the policy's `settle`; if that is a function, only for a limit without a
   * `cost` of its own.
   */
  settle?: SettleOption;
}

/** The options of `@RateLimit`. */
export interface RateLimitOptions extends LimitOptions {
  /** Any number of limits, instead of the limit options. A request takes from all of them or from none. */
  limits?: readonly RequestLimit[];
  /** Identifies the bucket, such as the user's id. Default: the module's `key`, by default the client's address. Never empty. */
  key?: KeyOption;
  /**
   * Tokens that a request takes; default 1, rounded up to a thousandth. 0 skips the policy. If the cost is settled, 0
   * admits the request as long as the balance is positive.
   */
  cost?: Resolvable<number>;
  /** `true` exempts the request from this policy. Default `false`. */
  skip?: Resolvable<boolean>;
  /**
   * The longest time that a request is queued instead of being rejected; default: it is rejected immediately. On a method
   * that is no handler it may be `Infinity`.
   */
  maxWait?: Duration;
  /**
   * How long a request is expected to hold its slot of a concurrency limit: one that holds it for longer is reported on
   * the channel `nest-rate-limit:slot-held-too-long`. The slot stays held. Default: none is reported.
   */
  maxHold?: Duration;
  /**
   * Corrects the cost after the request was answered: `'failures'` refunds it after a success (status below 400),
   * `'successes'` after a failure; a function returns the real cost (0 or more). Default: the cost stays.
   */
  settle?: SettleOption;
  /** `true` counts and publishes decisions, but never rejects a request and sends no headers. Default `false`. */
  dryRun?: boolean;
  /**
   * The `message` of a rejection, default `'Too Many Requests'`. An object is its whole body. A function returns either,
   * or a promise of it; anything else that it returns is the request's error.
   */
  message?: string | object | ((context: ExecutionContext, decision: Decision) => MaybePromise<string | object>);
  /**
   * Called before a request is rejected. A value, promise or Observable that it returns becomes the response, as if the
   * handler had returned it; `undefined` rejects the request; an error that it throws is the response. Default: the
   * module's `onLimited`.
   */
  onLimited?: OnLimited;
  /** The failure mode of this policy. Default: the module's `failure.mode`. */
  onStoreError?: FailureMode;
  /** On a class: `true` gives each handler its own bucket. Default `false`: they share one. */
  perHandler?: boolean;
}

/**
 * Resolves the policy per request: the name of one in `forRoot`, or options. A `maxRequest` or `capacity` of 0 denies the
 * request, with a `retryAfter` of `Infinity`; one of `Infinity` does not limit it.
 */
export type PolicyResolver = Resolvable<string | RateLimitOptions>;

/** The argument of `@RateLimit`. */
export type RateLimitInput = RateLimitOptions | readonly RateLimitOptions[] | PolicyResolver;

/** One element of such an argument. */
export type PolicyInput = Exclude<RateLimitInput, readonly unknown[]>;

/** The elements of an argument. An empty list stays one element, which is reported as invalid later. */
export function toPolicyInputs(input: unknown): PolicyInput[] {
  return Array.isArray(input) && input.length > 0 ? input : [input as PolicyInput];
}

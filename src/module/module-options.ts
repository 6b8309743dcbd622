import type { FailureMode } from '../core/request.js';
import type { RedisOptionsOfModule } from '../policy/parsed-options.js';
import type {
  KeyOption,
  OnLimited,
  RateLimitInput,
  RateLimitOptions,
  Resolvable,
} from '../policy/rate-limit.options.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import type { HeaderSet } from '../transport/header-formats.js';
import type { Duration } from '../util/duration.js';

/** What happens when the store cannot answer. */
export interface FailureOptions {
  /**
   * `'local'` (default): the same policies decide in this process until the store is back. `'open'`: requests are
   * admitted. `'closed'`: requests fail with 503, and a `Bucket` rejects with `RateLimitStoreError`.
   */
  mode?: FailureMode;
  /** The longest time that a decision may take; default 50 ms. */
  timeout?: Duration;
  /** The number of processes that share the limits; each gets that part of them in mode `'local'`. Default 1. */
  instances?: number;
}

/** Options of `RateLimitModule.forRoot`; all are optional. */
export interface RateLimitModuleOptions {
  /** Where buckets are kept: a store, or `{ redis }`. Default `new MemoryStore()`. */
  store?: RateLimitStore | RedisOptionsOfModule;
  /** Policies by name, for `@RateLimit('name')` and `BucketService`. */
  policies?: Record<string, RateLimitOptions>;
  /** The argument of `@RateLimit` for all handlers without a decorator. Default: they are not limited. */
  default?: RateLimitInput;
  /** The key of policies without a `key`. Default: the client's address. */
  key?: KeyOption;
  /**
   * `true` exempts a request from all limits: a switch to turn limits off at run time (`() => flags.limitsOff`), or an
   * allowlist (`fromAddresses('10.0.0.0/8')`). A constant, a function or an injectable class.
   */
  skip?: Resolvable<boolean>;
  /** The message of rejections by policies without a `message`. */
  message?: RateLimitOptions['message'];
  /** The `onLimited` of policies without one: answers instead of a rejection. */
  onLimited?: OnLimited;
  /** `false`: the guard is not bound to all handlers; bind `RateLimitGuard` with `@UseGuards`. Default `true`. */
  guard?: boolean;
  /** The formats of rate limit headers; `false` for none. Default `'draft-11'`. `Retry-After` is always sent. */
  headers?: HeaderSet | readonly HeaderSet[] | false;
  /** `true`: rejections are `application/problem+json` (RFC 9457). Default `false`. */
  problemDetails?: boolean;
  /** What happens when the store cannot answer. */
  failure?: FailureOptions;
  /** The most requests queued at once in this process; further ones are rejected. Default 10,000. */
  maxSuspended?: number;
}

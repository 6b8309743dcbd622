import type { FailureMode } from '../core/request.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import type { RedisTarget } from '../stores/redis/clients/ioredis.js';
import type { RedisConnectOptions } from '../stores/redis/redis-options.js';
import type { HeaderSet } from '../transport/header-formats.js';
import type { LimitedResolver, PolicyInput, RateLimitOptions } from './rate-limit.options.js';
import type { RequestPolicy } from './request-policy.js';
import type { ResolveFn } from './resolvable.js';

/** Options of a store in Redis: the connection, and how it is used. */
export type RedisOptionsOfModule = { redis: RedisTarget } & RedisConnectOptions;

/** The module's options, validated and complete. */
export interface ParsedModuleOptions {
  readonly store: RateLimitStore | RedisOptionsOfModule | undefined;
  /** Policies by name, including those of features. */
  readonly named: Map<string, RequestPolicy>;
  /** The features whose policies are in `named`. */
  readonly features: Set<object>;
  /** The policies of undecorated handlers; empty if there are none. */
  readonly default: readonly PolicyInput[];
  readonly key: ResolveFn<unknown>;
  readonly skip: ResolveFn<unknown> | undefined;
  readonly message: RateLimitOptions['message'];
  readonly onLimited: LimitedResolver['resolve'] | undefined;
  readonly guard: boolean;
  readonly headers: readonly HeaderSet[];
  readonly problemDetails: boolean;
  readonly failure: { readonly mode: FailureMode; readonly timeout: number; readonly instances: number };
  readonly maxSuspended: number;
  /** All inputs as they were given, which may contain injectable classes, and their places for error messages. */
  readonly inputs: readonly { readonly place: string; readonly input: unknown }[];
}

/** Injection token of the module's parsed options. */
export const PARSED_OPTIONS = Symbol.for('nest-rate-limit:options');

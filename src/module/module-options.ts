import { checkName } from '../core/limit.js';
import type { FailureMode } from '../core/request.js';
import { clientKey } from '../keys/client-key.js';
import {
  type LimitedResolver,
  type OnLimited,
  type RateLimitInput,
  type RateLimitOptions,
  type Resolvable,
  type Single,
  takenApart,
} from '../policy/rate-limit.options.js';
import {
  checkMessage,
  FAILURE_MODES,
  type Instances,
  type PolicyUse,
  parseKey,
  parseOnLimited,
  parseSkip,
  parseUse,
  type Tell,
} from '../policy/request-policy.js';
import { RateLimitStore } from '../stores/rate-limit.store.js';
import { isClient, type RedisTarget } from '../stores/redis/clients/ioredis.js';
import { REDIS_OPTIONS, type RedisConnectOptions } from '../stores/redis/redis.store.js';
import { HEADER_SETS, type HeaderSet } from '../transport/headers.js';
import { type Duration, parseDuration } from '../util/duration.js';
import { at, checkNames, RateLimitOptionError, reject, rejectSecret } from '../util/option-error.js';

/** What happens when the store cannot answer. */
export interface FailureOptions {
  /**
   * `'local'` (default): the same policies decide in this process until the store is back. `'open'`: requests pass.
   * `'closed'`: 503; a `Bucket` rejects with `RateLimitStoreError`.
   */
  mode?: FailureMode;
  /** A decision is given within so long; default 50 ms. */
  timeout?: Duration;
  /** How many processes share the limits while each decides alone: the numbers are divided by it. Default 1. */
  instances?: number;
}

/** Buckets in Redis: where, and how. */
export type RedisOptionsOfModule = { redis: RedisTarget } & RedisConnectOptions;

/** What `RateLimitModule.forRoot` takes; all of it may be left out. */
export interface RateLimitModuleOptions {
  /** Where buckets live: a store, or `{ redis }`; default `new MemoryStore()`. */
  store?: RateLimitStore | RedisOptionsOfModule;
  /** Policies by name, for `@RateLimit('name')` and `BucketService`. */
  policies?: Record<string, RateLimitOptions>;
  /** For all handlers that have no decorator what one would be given; without it they are not limited. */
  default?: RateLimitInput;
  /** Whose bucket, where a policy does not say it; default the client's address. */
  key?: Resolvable<string | null | undefined>;
  /**
   * `true` lets a request pass without any limit: a switch to turn limits off while running (`() => flags.limitsOff`),
   * or a list of friends (`fromAddresses('10.0.0.0/8')`). A constant, a function or an injectable class.
   */
  skip?: Resolvable<boolean>;
  /** What refusals say, for all policies without a `message` of their own. */
  message?: RateLimitOptions['message'];
  /** What answers instead of a refusal, for all policies without an `onLimited` of their own. */
  onLimited?: OnLimited;
  /** `false`: the guard is not bound to all handlers; bind `RateLimitGuard` with `@UseGuards`. Default `true`. */
  guard?: boolean;
  /** Header sets on answers; default `'draft-11'`, `false` for none. `Retry-After` stays. */
  headers?: HeaderSet | readonly HeaderSet[] | false;
  /** `true`: refusals are `application/problem+json` (RFC 9457). Default `false`. */
  problemDetails?: boolean;
  /** What happens when the store cannot answer. */
  failure?: FailureOptions;
  /** Most requests that may wait in line at once in this process; beyond, they are refused. Default 10,000. */
  maxSuspended?: number;
}

/** The same, checked and complete. */
export interface ParsedModuleOptions {
  readonly store: RateLimitStore | RedisOptionsOfModule | undefined;
  /** Policies by name, those of features, too. */
  readonly named: Map<string, PolicyUse>;
  /** Taken apart; none without. */
  readonly default: readonly Single[];
  readonly key: Tell<unknown>;
  readonly skip: Tell<unknown> | undefined;
  readonly message: RateLimitOptions['message'];
  readonly onLimited: LimitedResolver['resolve'] | undefined;
  readonly guard: boolean;
  readonly headers: readonly HeaderSet[];
  readonly problemDetails: boolean;
  readonly failure: { readonly mode: FailureMode; readonly timeout: number; readonly instances: number };
  readonly maxSuspended: number;
  /** As they were given: injectable classes are looked for here. */
  readonly inputs: readonly unknown[];
}

const OPTIONS = [
  'store',
  'policies',
  'default',
  'key',
  'skip',
  'message',
  'onLimited',
  'guard',
  'headers',
  'problemDetails',
  'failure',
  'maxSuspended',
  'isGlobal',
];

/** Policies by name. */
type Policies = Record<string, RateLimitOptions>;

/** Checks the module's options, and the policies of features; a wrong one stops the start. */
export function parseModuleOptions(
  options: RateLimitModuleOptions,
  features: readonly Policies[],
  instances: Instances,
): ParsedModuleOptions {
  const parsed = at('Invalid RateLimitModule options', () => parse(options, instances));
  for (const policies of features) {
    at('Invalid RateLimitModule.forFeature', () => addPolicies(policies, parsed.named, parsed.key, instances));
  }
  const { named } = parsed;
  for (const input of parsed.default) {
    if (typeof input !== 'string' || named.has(input)) continue;
    const known = [...named.keys()].join(', ') || 'none';
    at('Invalid RateLimitModule options', () => reject('default', `one of those in \`policies\` (${known})`, input));
  }
  return { ...parsed, inputs: [...parsed.inputs, ...features.flatMap((policies) => Object.values(policies))] };
}

/** Fails where there are no options at all: in a module that was imported as a class, or by a wrong call. */
export function checkGiven(options: unknown): void {
  if (typeof options === 'object' && options !== null && !Array.isArray(options)) return;
  reject('options', 'an object, as `forRoot` takes it', options);
}

function parse(options: RateLimitModuleOptions, instances: Instances): ParsedModuleOptions {
  checkGiven(options);
  checkNames(options, OPTIONS);
  const { store, policies = {}, guard = true, problemDetails = false, maxSuspended = 10_000 } = options;
  if ('store' in options) checkStore(store);
  checkMessage(options.message);
  if (typeof guard !== 'boolean') reject('guard', 'true or false', guard);
  if (typeof problemDetails !== 'boolean') reject('problemDetails', 'true or false', problemDetails);
  if (!Number.isInteger(maxSuspended) || maxSuspended < 0) {
    reject('maxSuspended', 'a whole number from 0 up', maxSuspended);
  }
  const key = parseKey(options.key, clientKey, instances);
  const named = new Map<string, PolicyUse>();
  addPolicies(policies, named, key, instances);
  const whole = 'default' in options ? takenApart(options.default) : [];
  for (const input of whole) {
    if (typeof input === 'string' || typeof input === 'function') continue;
    at('default', () => parseUse(input as RateLimitOptions, 'default', key, instances));
  }
  return {
    store,
    named,
    default: whole,
    key,
    skip: parseSkip(options.skip, instances),
    message: options.message,
    onLimited: parseOnLimited(options.onLimited, instances),
    guard,
    headers: parseHeaders(options.headers),
    problemDetails,
    failure: parseFailure(options.failure),
    maxSuspended,
    inputs: [...Object.values(policies), ...whole, options],
  };
}

/** Parses policies by name, and adds them to those there are. */
function addPolicies(
  policies: Policies,
  named: Map<string, PolicyUse>,
  key: ParsedModuleOptions['key'],
  instances: Instances,
): void {
  if (typeof policies !== 'object' || policies === null || Array.isArray(policies)) {
    reject('policies', 'an object of policies by name', policies);
  }
  for (const [name, policy] of Object.entries(policies)) {
    at(`policies.${name}`, () => {
      checkName(name);
      if (policy?.name !== undefined && policy.name !== name) {
        reject('name', `left out or ${JSON.stringify(name)}, the policy's name in \`policies\``, policy.name);
      }
      if (named.has(name)) throw new RateLimitOptionError('the name must be given to one policy only');
      named.set(name, parseUse(policy, name, key, instances));
    });
  }
}

function checkStore(store: unknown): void {
  if (store instanceof RateLimitStore) return;
  if (typeof store !== 'object' || store === null || !('redis' in store)) {
    rejectSecret('store', 'a RateLimitStore or { redis: … }', store);
  }
  at('store', () => checkNames(store, ['redis', ...REDIS_OPTIONS]));
  const { redis } = store;
  const options = typeof redis === 'object' && redis !== null && !Array.isArray(redis);
  if (!options && !(typeof redis === 'string' && /^(rediss?:\/\/|\/)./.test(redis)) && !isClient(redis)) {
    rejectSecret('store.redis', 'a redis:// url, options of ioredis, a Redis or a Cluster', redis);
  }
}

function parseHeaders(headers: RateLimitModuleOptions['headers'] = 'draft-11'): readonly HeaderSet[] {
  if (headers === false) return [];
  const sets = typeof headers === 'string' ? [headers] : headers;
  if (!Array.isArray(sets) || sets.some((set) => !HEADER_SETS.includes(set))) {
    reject('headers', `false, or of ${HEADER_SETS.join(', ')}`, headers);
  }
  return [...new Set(sets)];
}

function parseFailure(failure: FailureOptions = {}): ParsedModuleOptions['failure'] {
  if (typeof failure !== 'object' || failure === null) reject('failure', 'an object', failure);
  at('failure', () => checkNames(failure, ['mode', 'timeout', 'instances']));
  const { mode = 'local', timeout = 50, instances = 1 } = failure;
  if (!FAILURE_MODES.includes(mode)) reject('failure.mode', `one of ${FAILURE_MODES.join(', ')}`, mode);
  if (!Number.isInteger(instances) || instances < 1) {
    reject('failure.instances', 'a positive whole number', instances);
  }
  return { mode, timeout: parseDuration('failure.timeout', timeout), instances };
}

import { checkName } from '../core/limit.js';
import { clientKey } from '../keys/client-key.js';
import type { ParsedModuleOptions } from '../policy/parsed-options.js';
import {
  OPTION_NAMES,
  OPTION_SYNONYMS,
  parseFailureMode,
  parseFlag,
  parseKey,
  parseMessage,
  parseOnLimited,
  parseSkip,
} from '../policy/policy-options.js';
import { type PolicyInput, type RateLimitOptions, toPolicyInputs } from '../policy/rate-limit.options.js';
import { parseRequestPolicy, type RequestPolicy } from '../policy/request-policy.js';
import type { ResolveFn, ResolverLookup } from '../policy/resolvable.js';
import { RateLimitStore } from '../stores/rate-limit.store.js';
import { parseRedisTarget } from '../stores/redis/clients/redis-target.js';
import { REDIS_CONNECT_OPTIONS } from '../stores/redis/redis-options.js';
import { HEADER_SETS, type HeaderSet } from '../transport/header-formats.js';
import { brandOf } from '../util/brand.js';
import { parseDuration } from '../util/duration.js';
import {
  checkOptionNames,
  invalidOption,
  invalidSecretOption,
  RateLimitOptionError,
  unknownPolicy,
  withErrorPrefix,
} from '../util/option-error.js';
import { copiesHint } from './copies.js';
import type { FailureOptions, RateLimitModuleOptions } from './module-options.js';

const MODULE_OPTIONS = [
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

/** What is meant by the options of a policy, and by those of other rate limiters. */
const MODULE_SYNONYMS: Readonly<Record<string, string>> = {
  ...Object.fromEntries([...OPTION_NAMES, ...Object.keys(OPTION_SYNONYMS)].map((name) => [name, policyOption(name)])),
  throttlers: '`policies` or `default`',
  storage: '`store`',
  redis: '`store: { redis }`',
  skipIf: '`skip`',
  keyGenerator: '`key`',
  getTracker: '`key`',
  errorMessage: '`message`',
  standardHeaders: '`headers`',
  legacyHeaders: "`headers: 'legacy'`",
};

function policyOption(name: string): string {
  const meant = Object.hasOwn(OPTION_SYNONYMS, name) ? OPTION_SYNONYMS[name] : `\`${name}\``;
  return `${meant} in \`default\` or in one of \`policies\``;
}

type Policies = Record<string, RateLimitOptions>;

/** The places of options, in error messages. */
const MODULE = 'Invalid RateLimitModule options';
const FEATURE = 'Invalid RateLimitModule.forFeature';

/** Validates the options of the module, and the policies of features. Throws a `RateLimitOptionError`. */
export function parseModuleOptions(
  options: RateLimitModuleOptions,
  features: readonly Policies[],
  resolvers: ResolverLookup,
): ParsedModuleOptions {
  const parsed = withErrorPrefix(MODULE, () => parse(options, resolvers));
  for (const policies of features) addFeature(policies, parsed, resolvers);
  const { named } = parsed;
  for (const input of parsed.default) {
    if (typeof input !== 'string' || named.has(input)) continue;
    withErrorPrefix(`${MODULE}: default`, () => unknownPolicy(input, named.keys()));
  }
  return { ...parsed, inputs: [...parsed.inputs, ...features.flatMap((policies) => policyInputs(FEATURE, policies))] };
}

/** Validates the policies of a feature, and adds them unless the application has them already. */
export function addFeature(
  policies: Policies,
  { named, features, key }: Pick<ParsedModuleOptions, 'named' | 'features' | 'key'>,
  resolvers: ResolverLookup,
): void {
  if (features.has(policies)) return;
  withErrorPrefix(FEATURE, () => addPolicies(policies, named, key, resolvers));
  features.add(policies);
}

/** Throws if there are no options at all: the module was imported as a class, or `forRoot` was called wrongly. */
export function checkGiven(options: unknown): void {
  if (typeof options === 'object' && options !== null && !Array.isArray(options)) return;
  invalidOption('options', 'an object, the argument of `forRoot`', options);
}

function parse(options: RateLimitModuleOptions, resolvers: ResolverLookup): ParsedModuleOptions {
  checkGiven(options);
  checkOptionNames(options, MODULE_OPTIONS, MODULE_SYNONYMS);
  const { store, policies = {} } = options;
  if ('store' in options) checkStore(store);
  const key = parseKey(options.key, clientKey, resolvers);
  const named = new Map<string, RequestPolicy>();
  addPolicies(policies, named, key, resolvers);
  const defaults = parseDefault(options, key, resolvers);
  return {
    store,
    named,
    features: new Set(),
    default: defaults,
    key,
    skip: parseSkip(options.skip, resolvers),
    message: parseMessage(options.message),
    onLimited: parseOnLimited(options.onLimited, resolvers),
    guard: parseFlag('guard', options.guard, true),
    headers: parseHeaders(options.headers),
    problemDetails: parseFlag('problemDetails', options.problemDetails, false),
    failure: parseFailure(options.failure),
    maxSuspended: parseMaxSuspended(options.maxSuspended),
    inputs: [
      ...policyInputs(MODULE, policies),
      ...defaults.map((input) => ({ place: `${MODULE}: default`, input })),
      { place: MODULE, input: options },
    ],
  };
}

/** Validates named policies, and adds them to `named`. */
function addPolicies(
  policies: Policies,
  named: Map<string, RequestPolicy>,
  key: ResolveFn<unknown>,
  resolvers: ResolverLookup,
): void {
  if (typeof policies !== 'object' || policies === null || Array.isArray(policies)) {
    invalidOption('policies', 'an object of policies by name', policies);
  }
  for (const [name, policy] of Object.entries(policies)) {
    withErrorPrefix(`policies.${name}`, () => {
      checkName(name);
      if (policy?.name !== undefined && policy.name !== name) {
        invalidOption('name', `omitted, or '${name}' as in \`policies\``, policy.name);
      }
      if (named.has(name)) throw new RateLimitOptionError('another policy in `forRoot` or `forFeature` has this name');
      named.set(name, parseRequestPolicy(policy, name, key, resolvers));
    });
  }
}

function policyInputs(place: string, policies: Policies): ParsedModuleOptions['inputs'] {
  return Object.entries(policies).map(([name, input]) => ({ place: `${place}: policies.${name}`, input }));
}

/** The policies of undecorated handlers. Names are resolved later, when the policies of features are known. */
function parseDefault(
  options: RateLimitModuleOptions,
  key: ResolveFn<unknown>,
  resolvers: ResolverLookup,
): readonly PolicyInput[] {
  if (!('default' in options)) return [];
  const inputs = toPolicyInputs(options.default);
  for (const input of inputs) {
    if (typeof input === 'string' || typeof input === 'function') continue;
    withErrorPrefix('default', () => parseRequestPolicy(input as RateLimitOptions, 'default', key, resolvers));
  }
  return inputs;
}

function checkStore(store: unknown): void {
  if (store instanceof RateLimitStore) return;
  const version = brandOf(store, 'RateLimitStore');
  if (version) throw new RateLimitOptionError(`\`store\` was created by nest-rate-limit ${version}${copiesHint()}`);
  if (typeof store !== 'object' || store === null || !('redis' in store)) {
    invalidSecretOption('store', 'a RateLimitStore, such as `new MemoryStore()`, or { redis: … }', store);
  }
  withErrorPrefix('store', () => checkOptionNames(store, ['redis', ...REDIS_CONNECT_OPTIONS]));
  parseRedisTarget(store.redis, 'store.redis');
}

function parseHeaders(headers: RateLimitModuleOptions['headers'] = 'draft-11'): readonly HeaderSet[] {
  if (headers === false) return [];
  const sets = typeof headers === 'string' ? [headers] : headers;
  if (!Array.isArray(sets) || sets.some((set) => !HEADER_SETS.includes(set))) {
    invalidOption('headers', `false, or one or more of ${HEADER_SETS.join(', ')}`, headers);
  }
  return [...new Set(sets)];
}

function parseMaxSuspended(maxSuspended: unknown = 10_000): number {
  if (typeof maxSuspended === 'number' && Number.isInteger(maxSuspended) && maxSuspended >= 0) return maxSuspended;
  return invalidOption('maxSuspended', 'a whole number of at least 0', maxSuspended);
}

function parseFailure(failure: FailureOptions = {}): ParsedModuleOptions['failure'] {
  if (typeof failure !== 'object' || failure === null) invalidOption('failure', 'an object', failure);
  withErrorPrefix('failure', () => checkOptionNames(failure, ['mode', 'timeout', 'instances']));
  const { mode = 'local', timeout = 50, instances = 1 } = failure;
  if (!Number.isInteger(instances) || instances < 1) {
    invalidOption('failure.instances', 'a positive whole number', instances);
  }
  return {
    mode: parseFailureMode('failure.mode', mode),
    timeout: parseDuration('failure.timeout', timeout),
    instances,
  };
}

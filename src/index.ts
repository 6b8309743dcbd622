export type { AcquireOptions } from './bucket/acquire.js';
export { Bucket } from './bucket/bucket.js';
export { BucketService } from './bucket/bucket.service.js';
export type { WaitOptions } from './bucket/consume.js';
export { TokenBucket } from './bucket/token-bucket.js';
export { Slot } from './concurrency/slot.js';
export { ClientGoneError } from './context/connection.js';
export { AdmissionLog } from './core/algorithms/admission-log.js';
export type {
  Algorithm,
  BucketQueue,
  BucketState,
  Limit,
  LimitKind,
  Mark,
  ReplaceStrategy,
  Reservation,
  Scale,
  StateEntry,
  StatePart,
} from './core/algorithms/algorithm.js';
export type { CalendarPeriod, CalendarPeriods, PeriodPair } from './core/algorithms/calendar-periods.js';
export { plainAnswer, toAnswer } from './core/answer.js';
export { lifetime, newState } from './core/bucket-state.js';
export type { Decision, DecisionSource, LimitState, StoreAnswer } from './core/decision.js';
export { execute } from './core/execute.js';
export type { LimitNumbers, NamedLimit } from './core/limit.js';
export type { LimitOptions, Policy } from './core/policy.js';
export type { Amounts, FailureMode, StoreRequest, Take, Verb } from './core/request.js';
export type { HolderMessage, SlotHolder } from './core/slot-holder.js';
export { RateLimitExceededException, RateLimitUnavailableException } from './exceptions/rate-limit.exception.js';
export { RateLimitResolverError } from './exceptions/rate-limit-resolver.error.js';
export { RateLimitStoreError, type StoreOutcome } from './exceptions/rate-limit-store.error.js';
export { RateLimitGuard } from './guard/rate-limit.guard.js';
export { addressKey } from './keys/address.js';
export { fromAddresses } from './keys/from-addresses.js';
export { byAll, byHeader, byIp, byUser, type KeyOf } from './keys/keys.js';
export type { FailureOptions, RateLimitModuleOptions } from './module/module-options.js';
export { RateLimitModule } from './module/rate-limit.module.js';
export type {
  DecisionMessage,
  EffectDropReason,
  EffectMessage,
  FailureMessage,
  HealthMessage,
  SlotHoldMessage,
  SlotMessage,
  StoreMessage,
  WaitEnd,
  WaitMessage,
} from './observe/channels.js';
export { RateLimitDecision, ReportCost } from './policy/handler-parameters.js';
export type { RedisOptionsOfModule } from './policy/parsed-options.js';
export { RateLimit, SkipRateLimit } from './policy/rate-limit.decorator.js';
export type {
  KeyOption,
  LimitedResolver,
  OnLimited,
  Outcome,
  PolicyResolver,
  RateLimitInput,
  RateLimitOptions,
  RequestLimit,
  Resolvable,
  Resolver,
  SettleOption,
} from './policy/rate-limit.options.js';
export type { DumpedBucket } from './stores/memory/bucket-table.js';
export { type MemoryDump, MemoryStore, type MemoryStoreOptions } from './stores/memory/memory.store.js';
export { GIVING_VERBS, RateLimitStore, type StoreHealth } from './stores/rate-limit.store.js';
export type { RedisTarget } from './stores/redis/clients/ioredis.js';
export type { GlideClient, IoredisClient, NodeRedisClient, RedisClient } from './stores/redis/clients/redis-client.js';
export { RedisStore } from './stores/redis/redis.store.js';
export type { RedisConnectOptions, RedisStoreOptions } from './stores/redis/redis-options.js';
export { Subscriptions } from './stores/subscriptions.js';
export { SuspendableContext } from './suspend/suspendable.context.js';
export { SuspendableGuard, SuspendableRequestContext } from './suspend/suspendable.guard.js';
export {
  type ResponseOutcome,
  SuspendableInterceptor,
  SuspendableResponseContext,
} from './suspend/suspendable.interceptor.js';
export { type SuspendOptions, Suspension, SuspensionTimeoutError } from './suspend/suspension.js';
export type { HeaderSet } from './transport/header-formats.js';
export { type Clock, systemClock } from './util/clock.js';
export { type Duration, TimeUnit } from './util/duration.js';
export type { MaybePromise } from './util/maybe-promise.js';
export { RateLimitOptionError } from './util/option-error.js';

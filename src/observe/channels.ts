import { channel } from 'node:diagnostics_channel';
import type { DecisionSource } from '../core/decision.js';
import type { Verb } from '../core/request.js';

/*
 * The channels of `node:diagnostics_channel` on which the library publishes its events. Check `hasSubscribers` before
 * building a message. Channel names and message fields are public API.
 */

/** One decision about a request. Each dry-run policy has a message of its own. */
export interface DecisionMessage {
  /** The name of the deciding policy, followed by the limit's name if the policy has several. */
  readonly policy: string;
  /** Whether the decision admits the request. */
  readonly allowed: boolean;
  /** What made the decision, such as the store or its fallback. */
  readonly source: DecisionSource;
  /** Milliseconds that the request must wait; 0 if it can proceed immediately. */
  readonly delay: number;
  /** Milliseconds until the same cost would be allowed; 0 if it is allowed, `Infinity` for never. */
  readonly retryAfter: number;
  /** Tokens that remain; may be fractional, never negative. */
  readonly remaining: number;
  /** `capacity` or `maxRequest` of the limit. */
  readonly limit: number;
  /** Milliseconds until the bucket is full and unblocked; `Infinity` if it has no refill. */
  readonly resetAfter: number;
  /** Whether the policy is a dry run: the request is admitted whatever the decision. */
  readonly dryRun: boolean;
  /**
   * Nest's context type (`'http'`, `'graphql'`, `'ws'`, `'rpc'`), `'method'` for calls of other limited methods, or
   * `'bucket'` for manual checks.
   */
  readonly transport: string;
  /**
   * The key of the bucket. It may be personal data, such as an address or a phone number: do not export it, and do not
   * use it as a metric attribute.
   */
  readonly key: string;
}

/**
 * How a wait in the queue ended: the request proceeded (`'passed'`), its client disconnected or its signal was aborted
 * (`'left'`), its deadline expired (`'late'`), or the application shut down (`'closed'`).
 */
export type WaitEnd = 'passed' | 'left' | 'late' | 'closed';

/** The beginning or the end of a wait in the queue. Both messages carry the same decision. */
export interface WaitMessage {
  /** The decision that queued the request. */
  readonly decision: DecisionMessage;
  /** How the wait ended; `undefined` at its beginning. */
  readonly end: WaitEnd | undefined;
  /** Milliseconds since the wait began, by the store's clock. */
  readonly waited: number;
}

/** One call to a remote store. */
export interface StoreMessage {
  readonly verb: Verb;
  /** The class of the store: `'RedisStore'`. */
  readonly store: string;
  /** Milliseconds until the call was answered, failed or timed out. */
  readonly duration: number;
  readonly error: Error | undefined;
}

/** A request without a decision: the store was unavailable and the failure mode is `'closed'`. */
export interface FailureMessage {
  /** The first of the request's policies. */
  readonly policy: string;
  readonly transport: string;
  readonly error: Error;
}

/** A change of the store's health. */
export interface HealthMessage {
  readonly status: 'up' | 'down';
  /** Why the store is down. */
  readonly error?: Error;
  /** When it went down, in milliseconds since 1970. */
  readonly since?: number;
}

/**
 * Why an effect was dropped: it no longer matters (`'expired'`), too many wait (`'full'`), the store cannot apply it or
 * may have applied it already (`'failed'`), the application closed (`'shutdown'`), or a later effect on the same bucket
 * made it void (`'superseded'`).
 */
export type EffectDropReason = 'expired' | 'full' | 'failed' | 'shutdown' | 'superseded';

/** A refund, charge or block that failed, and what becomes of it. */
export interface EffectMessage {
  readonly policy: string;
  readonly verb: Verb;
  /** `'queued'`: it will be repeated. `'applied'`: the store has applied it. `'dropped'`: it will not be repeated. */
  readonly event: 'queued' | 'applied' | 'dropped';
  /** Only for `'dropped'`. */
  readonly reason: EffectDropReason | undefined;
  /** How many requests it sums up: charges of the same bucket are repeated as one. */
  readonly count: number;
}

/** A slot of a concurrency limit: one that was lost, or one that is held for longer than `maxHold`. */
export interface SlotMessage {
  readonly policy: string;
  /** The key of the bucket. It may be personal data: do not export it. */
  readonly key: string;
  /** Milliseconds since the slot was granted. */
  readonly held: number;
}

/** A slot that was granted, when its take was sent `held` ms ago, or released. */
export interface SlotHoldMessage extends SlotMessage {
  readonly event: 'granted' | 'released';
}

/** A diagnostics channel whose messages have one type. */
interface TypedChannel<T> {
  readonly hasSubscribers: boolean;
  publish(message: T): void;
}

export const DECISION = 'nest-rate-limit:decision';
export const WAIT = 'nest-rate-limit:wait';
export const STORE = 'nest-rate-limit:store';
export const FAILURE = 'nest-rate-limit:failure';
export const HEALTH = 'nest-rate-limit:health';
export const EFFECT = 'nest-rate-limit:effect';
export const SLOT = 'nest-rate-limit:slot';
export const SLOT_LOST = 'nest-rate-limit:slot-lost';
export const SLOT_HELD_TOO_LONG = 'nest-rate-limit:slot-held-too-long';

export const decisions: TypedChannel<DecisionMessage> = channel(DECISION);
export const waits: TypedChannel<WaitMessage> = channel(WAIT);
export const storeCalls: TypedChannel<StoreMessage> = channel(STORE);
export const failures: TypedChannel<FailureMessage> = channel(FAILURE);
export const healthChanges: TypedChannel<HealthMessage> = channel(HEALTH);
export const effects: TypedChannel<EffectMessage> = channel(EFFECT);
export const slotHolds: TypedChannel<SlotHoldMessage> = channel(SLOT);
export const lostSlots: TypedChannel<SlotMessage> = channel(SLOT_LOST);
export const longHolds: TypedChannel<SlotMessage> = channel(SLOT_HELD_TOO_LONG);

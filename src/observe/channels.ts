import { channel } from 'node:diagnostics_channel';
import type { DecisionSource } from '../core/decision.js';
import type { Verb } from '../core/request.js';

/*
 * What happens, told to whoever wants to know, by `node:diagnostics_channel`. A message is made only where somebody
 * listens: look at `hasSubscribers` first. Names and fields are public.
 */

/** One decided request; for each policy on trial one more. */
export interface DecisionMessage {
  /** The policy that decided, with its limit where it has several. */
  readonly policy: string;
  readonly allowed: boolean;
  readonly source: DecisionSource;
  /** ms. */
  readonly delay: number;
  readonly retryAfter: number;
  readonly remaining: number;
  readonly limit: number;
  /** ms until the bucket is full again. */
  readonly resetAfter: number;
  /** The policy is on trial: whatever was decided, the request passed. */
  readonly dryRun: boolean;
  /** What Nest calls its context (`'http'`, `'graphql'`, `'ws'`, `'rpc'`), or `'bucket'` for a manual check. */
  readonly transport: string;
  /** Whose bucket. May be personal: an address, a phone number. For this process only, never for metrics. */
  readonly key: string;
}

/** How a wait in line ended: its turn came, its client left (or gave up), its deadline passed, the app closed. */
export type WaitEnd = 'passed' | 'left' | 'late' | 'closed';

/** A wait in line has begun, or has ended. Both carry the same decision. */
export interface WaitMessage {
  readonly decision: DecisionMessage;
  /** `undefined`: it begins. */
  readonly end: WaitEnd | undefined;
  /** ms since it began, by the store's clock. */
  readonly waited: number;
}

/** One call of a store that may fail. */
export interface StoreMessage {
  readonly verb: Verb;
  /** Its class: `'RedisStore'`. */
  readonly store: string;
  /** ms until it answered, failed or was given up. */
  readonly duration: number;
  readonly error: Error | undefined;
}

/** A request that nothing decided, because the store did not answer and the failure mode is `'closed'`. */
export interface FailureMessage {
  /** The first of the request's policies. */
  readonly policy: string;
  readonly transport: string;
  readonly error: Error;
}

/** The store went down, or came up again. */
export interface HealthMessage {
  readonly status: 'up' | 'down';
  readonly error?: Error;
  readonly since?: number;
}

/** A channel whose messages are of one type. */
interface TypedChannel<T> {
  readonly hasSubscribers: boolean;
  publish(message: T): void;
}

export const DECISION = 'nest-rate-limit:decision';
export const WAIT = 'nest-rate-limit:wait';
export const STORE = 'nest-rate-limit:store';
export const FAILURE = 'nest-rate-limit:failure';
export const HEALTH = 'nest-rate-limit:health';

export const decisions: TypedChannel<DecisionMessage> = channel(DECISION);
export const waits: TypedChannel<WaitMessage> = channel(WAIT);
export const storeCalls: TypedChannel<StoreMessage> = channel(STORE);
export const failures: TypedChannel<FailureMessage> = channel(FAILURE);
export const healthChanges: TypedChannel<HealthMessage> = channel(HEALTH);

import type { HolderMessage, SlotHolder } from '../slot-holder.js';
import type { CalendarPeriods } from './calendar-periods.js';

/** The kind of a limit. `replacePolicy` carries state over only between limits of the same kind. */
export type LimitKind = 'bucket' | 'window' | 'concurrency' | 'calendar';

/**
 * One compiled limit of a policy. All counts are whole numbers of *units*: an amount (a thousandth of a token) weighs
 * `weight` units, and each `period` ms adds `refill` units. A greedy bucket has a period of 1 ms, and `weight` makes
 * `refill` whole: 10 tokens per minute are 10,000 amounts per 60,000 ms, so one amount weighs 6 units and each ms adds
 * 1. Nothing is divided before a time is reported.
 */
export interface Limit {
  readonly kind: LimitKind;
  /** The algorithm that implements this limit. */
  readonly algorithm: Algorithm;
  /** Unique in its policy. */
  readonly name: string;
  /** `capacity` or `maxRequest` as the user wrote it. */
  readonly size: number;
  /** `size` in units. */
  readonly capacity: number;
  /** Units per thousandth of a token. */
  readonly weight: number;
  /** Units added per `period`; 0 for a window, a calendar quota or a bucket without refill. */
  readonly refill: number;
  /** Bucket: ms between refills. Window: its length in ms. Calendar quota: 1. */
  readonly period: number;
  /** Window: the resolution of its recorded admissions in ms; 1 is exact. Others: 1. */
  readonly slot: number;
  /** The longest time from empty to full, in ms; `Infinity` without refill. */
  readonly fillTime: number;
  /** The index of its entry in the option `limits`, if that is given. */
  readonly entry?: number;
  /** Calendar quota: its periods. */
  readonly calendar?: CalendarPeriods;
}

/**
 * The state of one policy for one key: for each limit a debt, and a part where its state is more than a number. It is
 * valid at the instant `at`. A new state is full; a store may drop one that is full and unblocked.
 */
export interface BucketState {
  /** The time at which this state is valid, in ms since 1970; 0 for a new bucket. */
  at: number;
  /** Every request is denied until this instant; 0 if not blocked. */
  blockedUntil: number;
  /** When the last queued request may proceed (its reservation *acts*), in ms since 1970; 0 if none is queued. */
  queueEnd: number;
  /** The queued requests; `undefined` if there are none. Never modified, only replaced; it is plain data for JSON. */
  queue: BucketQueue | undefined;
  /** For each limit the units missing from full; 0 where `parts` has its state. */
  readonly debts: number[];
  /** For each limit the state that is more than a number, such as the admissions of a window. */
  readonly parts: (StatePart | undefined)[];
  /** The takes that may still be refunded, the oldest first. Never modified, only replaced; it is plain data for JSON. */
  marks: readonly Mark[];
  /**
   * For each limit the numbers that its state counts in, if they may differ between requests (see `scales.ts`). Never
   * modified, only replaced; it is plain data for JSON.
   */
  scales: readonly Scale[] | undefined;
  /** Whether the state has changed since it was loaded. If so, the store must save it. */
  changed: boolean;
  /** Messages about slots, to be sent once the state has been saved (see `RateLimitStore.subscribe`). */
  messages: readonly HolderMessage[];
}

/** The requests that are queued (see `queue.ts`). */
export interface BucketQueue {
  /** For each limit the debt without them; 0 where `parts` has its state. */
  readonly debts: readonly number[];
  /** In the order in which they act. */
  readonly reservations: readonly Reservation[];
}

/** A queued request: when it acts, in ms since 1970, and the amount that it has reserved from each limit. */
export interface Reservation {
  readonly actAt: number;
  readonly amounts: readonly number[];
}

/** A take that may still be refunded (see `marks.ts`): its `Take.mark`, and a number for each limit. */
export interface Mark {
  readonly id: number;
  readonly limits: readonly number[];
}

/** The numbers of a limit that its state counts in: units of which size, and how many of them. */
export interface Scale {
  readonly capacity: number;
  readonly weight: number;
  /** The longest `fillTime` of all numbers that the state has counted in; whole ms. */
  readonly fillTime: number;
}

/** The state of one limit where it is more than a number. */
export interface StatePart {
  /** A copy that shares nothing with this one. */
  clone(): StatePart;
  /** Copies the state of `other`, an instance of the same class. The copy may share lists with `other`. */
  assign(other: StatePart): void;
  /** The state as plain data for JSON. */
  entries(): StateEntry[];
  /** Restores the state from what `entries` returned. Call it only on a new part. */
  restore(entries: readonly StateEntry[]): void;
}

/** One element of a stored state. */
export type StateEntry = number | string;

/** How `replacePolicy` carries a balance over to new limits. */
export type ReplaceStrategy = 'reset' | 'as-is' | 'proportionally' | 'additive';

export const REPLACE_STRATEGIES: readonly ReplaceStrategy[] = ['reset', 'as-is', 'proportionally', 'additive'];

/**
 * How one kind of limit counts: pure functions of limit, state, amount and time. `i` is the index of the limit in its
 * policy, and so in `state.debts` and `state.parts`. The instant is `state.at`, except in `advance`. An amount is in
 * thousandths of a token; a wait is in ms, `Infinity` for never.
 *
 * The Lua twin in `stores/redis/lua/` has a table of the same functions, found by `id`; that of a soft limit is negative.
 */
export interface Algorithm {
  /** Index of the Lua twin in its table of algorithms; unique. */
  readonly id: number;
  /** Of a soft limit (see `soft.ts`): the algorithm of the limit if it were none. */
  readonly hard?: Algorithm;
  /** What error messages call such a limit, such as `'sliding window'`. */
  readonly title: string;
  /** Whether a process may take several tokens at once and spend them later (`lease`). */
  readonly leasable: boolean;
  /** Whether a refund must name the time of the take, because the usage of then may have expired since. */
  readonly needsTakenAt?: boolean;
  /** The strategies that `replace` supports. */
  readonly strategies: readonly ReplaceStrategy[];
  /** A short string that encodes the limit. It is part of the key in Redis, so the encoding must never change. */
  fingerprint(limit: Limit): string;
  /**
   * The part of `fingerprint` that limits have in common which may share a state, if they are resolved per request.
   * Default: all of it.
   */
  structure?(limit: Limit): string;
  /** The debt in the numbers of `limit`, with the same balance; absent if it is the same in all numbers. */
  rescale?(limit: Limit, debt: number, scale: Scale): number;
  /** The limit's share for one of `instances` processes; at least one request. */
  divide(limit: Limit, instances: number): Limit;
  /** The part of a full state; `undefined` if its debt is its whole state. */
  newPart(): StatePart | undefined;
  /**
   * Brings a part back from a time that is too far ahead of `now` to wait for. Without this function, the limit is then
   * full; but slots are held whatever the clock does.
   */
  setBack?(limit: Limit, part: StatePart, now: number): void;
  /** Brings the state of the limit from `state.at` up to `now`. */
  advance(limit: Limit, state: BucketState, i: number, now: number): void;
  /** How long `amount` must wait; 0 if it fits now. */
  wait(limit: Limit, state: BucketState, i: number, amount: number): number;
  /**
   * For a limit without a queue, whose `wait` is 0: the `retryAfter` of a request of `holder` in ms; 0 if it is admitted.
   */
  hint?(limit: Limit, state: BucketState, i: number, holder: SlotHolder | undefined): number;
  /** Milliseconds after which nothing can be reserved; a request must act earlier. Without it, there is no such time. */
  horizon?(limit: Limit, state: BucketState, i: number): number;
  /** Takes `amount` regardless of the balance, for a request that proceeds after `wait` ms (the longest of all limits). */
  take(limit: Limit, state: BucketState, i: number, amount: number, wait: number): void;
  /**
   * Refunds `amount`, never above full: of the take with `mark`, as far as it still counts. Without `mark` a window
   * refunds its oldest admissions, because that never lets more through than removing newer ones.
   */
  refund(limit: Limit, state: BucketState, i: number, amount: number, mark?: number): void;
  /** What `refund` needs to refund a take that acts at `actAt`; a whole number. */
  newMark(limit: Limit, actAt: number): number;
  /** Whether `refund` with `mark` would change nothing, now or later. */
  isSpent(limit: Limit, state: BucketState, i: number, mark: number): boolean;
  /**
   * Cancels a reservation of `amount` that would have acted at `actAt`. The remaining ones, the last of which acts at
   * `state.queueEnd`, keep their instants; `needed` is the debt that they leave.
   */
  cancel(limit: Limit, state: BucketState, i: number, amount: number, actAt: number, needed: number): void;
  /** Units in use; above the capacity when in debt. */
  used(limit: Limit, state: BucketState, i: number): number;
  /** Milliseconds until the limit is full. */
  timeToFull(limit: Limit, state: BucketState, i: number): number;
  /** Milliseconds until more is available, one whole token if it is gained bit by bit; 0 if the limit is full. */
  timeToNext(limit: Limit, state: BucketState, i: number): number;
  /**
   * Lowers the balance, now and later, to at most what another store answered at the instant `at`: the units in use
   * then, and its times. Has no Lua twin, because only this process's own buckets need it.
   */
  restrict(
    limit: Limit,
    state: BucketState,
    i: number,
    answered: {
      readonly at: number;
      readonly used: number;
      readonly moreAfter: number;
      readonly resetAfter: number;
    },
  ): void;
  /** Carries the state of limit `k` of another policy over to limit `i`, which is full. */
  replace(
    limit: Limit,
    state: BucketState,
    i: number,
    from: { readonly limit: Limit; readonly state: BucketState; readonly k: number },
    strategy: ReplaceStrategy,
  ): void;
}

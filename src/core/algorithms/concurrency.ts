import { AMOUNT_PER_TOKEN } from '../amount.js';
import type { SlotHolder } from '../slot-holder.js';
import type { Algorithm, BucketState, Limit } from './algorithm.js';
import { type Holder, Holders, isUsed } from './holders.js';
import { divideRequests } from './share.js';

/*
 * At most `concurrency` slots are held at once. The state has one entry per process, its *holder*, with the number of
 * slots that the process holds, however many that are. A take adds one; a report (`hold`) sets the number, so whatever
 * was lost before it no longer matters. Without reports a holder expires after `slotTtl`: its process is dead.
 *
 * A request that finds no slot is denied, and its process may register since when it waits. While any process is
 * registered, new requests are denied, and a free slot is for the process that has waited longest. It is notified and takes
 * the slot, or, where nothing else limits its requests, it is *granted* the slot: its entry counts the slot at once, and
 * its registration ends until its next report, so a process that has died is granted no second one. The answer to its
 * report says so, or a message, which names its last report. If a later one is on its way, the process ignores the grant,
 * because that report's count frees the slot again. Processes try again each second, so a registration that is not renewed
 * lapses, and a slot whose grant was lost is freed.
 *
 * Example: concurrency 4, three processes hold 3, 1 and 0 slots, and the third one waits. When the first one reports 2,
 * the third one's entry has 1; it reports that, and that it waits no longer. Until then the second one's new requests
 * were denied.
 */

/** `retryAfter` of a missing slot, in ms: when one will be released is unknown. */
export const RETRY_HINT = 1000;

/** How long a process is believed to wait, in ms. It tries again each second. */
export const WAITING_TTL = 2500;

/** The slots that are held; more than there are if processes went on during an outage of the store. */
export function heldSlots({ list }: Holders): number {
  let sum = 0;
  for (let n = 0; n < list.length; n++) sum += list[n].count;
  return sum;
}

/** Drops holders that have expired, and registrations that have lapsed. */
function expire(holders: Holders, now: number): void {
  if (holders.list.every(({ expiry, waitsUntil, since }) => expiry > now && (since === 0 || waitsUntil > now))) return;
  holders.list = holders.list
    .filter(({ expiry }) => expiry > now)
    .map((holder) => (holder.waitsUntil > now ? holder : { ...holder, since: 0, waitsUntil: 0 }))
    .filter(isUsed);
}

/** Whether a slot is free for `holder`, a new request or a waiter of it: no process has waited longer. */
export function isAvailable(limit: Limit, holders: Holders, now: number, holder?: SlotHolder): boolean {
  if (heldSlots(holders) >= limit.size) return false;
  const { list } = holders;
  if (holder?.waited === undefined) return list.every(({ since }) => since === 0);
  // A wait seems to have begun the later, the longer its request took to arrive. The earliest start counts, as it does for
  // the others: a process that is notified of a free slot can take it.
  let start = startOf(now, holder.waited);
  for (const { id, since } of list) if (id === holder.id && since > 0 && since < start) start = since;
  return list.every(({ since }) => since === 0 || since >= start);
}

/** Adds a slot to those of `holder`. If a waiter takes it, the next one of its process is now the oldest. */
export function takeSlot(limit: Limit, holders: Holders, now: number, holder: SlotHolder): void {
  const own = holders.findOrNew(holder.id);
  const { waited, nextWaited } = holder;
  if (nextWaited !== undefined) setWaiting(own, now, startOf(now, nextWaited), holder);
  else if (waited !== undefined) setWaiting(own, now, 0, holder);
  own.count++;
  own.expiry = expiryOf(limit, now, own, holder);
  holders.put(own);
}

/** Registers that `holder` waits. */
export function awaitSlot(holders: Holders, now: number, holder: SlotHolder): void {
  const own = holders.findOrNew(holder.id);
  const since = startOf(now, holder.waited ?? 0);
  setWaiting(own, now, own.since > 0 ? Math.min(own.since, since) : since, holder);
  own.expiry = Math.max(own.expiry, own.waitsUntil);
  holders.put(own);
}

/** Ends the registration of `holder`; returns whether there was one. */
export function stopAwaiting(holders: Holders, now: number, holder: SlotHolder): boolean {
  const own = holders.findOrNew(holder.id);
  if (own.since === 0) return false;
  setWaiting(own, now, 0, holder);
  holders.put(own);
  return true;
}

/**
 * Sets what a `holder` holds that is about to take a slot; returns whether that is no older than its last report. Its entry
 * stays in its place, even if it means nothing by now: `takeSlot`, `awaitSlot` or `dropUnused` follows.
 */
export function reportCount(limit: Limit, holders: Holders, now: number, holder: SlotHolder): boolean {
  const own = holders.findOrNew(holder.id);
  const { count, sequence } = holder;
  if (count === undefined || sequence === undefined || sequence < own.sequence) return false;
  own.count = count;
  own.sequence = sequence;
  own.expiry = expiryOf(limit, now, own, holder);
  holders.set(own);
  return true;
}

/** Drops the entry of `holder` if it means nothing. */
export function dropUnused(holders: Holders, holder: SlotHolder): void {
  holders.put(holders.findOrNew(holder.id));
}

/**
 * Sets what `holder` holds and awaits; returns whether that is no older than its last report. Without a `count` it
 * releases one slot and nothing else changes.
 */
export function reportSlots(limit: Limit, holders: Holders, now: number, holder: SlotHolder): boolean {
  const own = holders.findOrNew(holder.id);
  const { count, sequence = own.sequence, waited } = holder;
  if (count === undefined) {
    own.count = Math.max(0, own.count - 1);
  } else {
    if (sequence < own.sequence) return false;
    own.count = count;
    own.sequence = sequence;
    setWaiting(own, now, waited === undefined ? 0 : startOf(now, waited), holder);
    own.expiry = expiryOf(limit, now, own, holder);
  }
  holders.put(own);
  return true;
}

/** The process that has waited longest; `undefined` if none waits. */
export function longestWaiting({ list }: Holders): Holder | undefined {
  let longest: Holder | undefined;
  for (const holder of list) if (holder.since > 0 && holder.since < (longest?.since ?? Infinity)) longest = holder;
  return longest;
}

/** Whether free slots can be granted to a process that waits: it reports, and does not take them at once as in memory. */
export function isGrantable({ sequence, waitsUntil }: Holder): boolean {
  return sequence > 0 && waitsUntil < Infinity;
}

/** Grants a free slot to a process that waits. */
export function grantSlot(holders: Holders, waiting: Holder): void {
  holders.set({ ...waiting, count: waiting.count + 1, since: 0, waitsUntil: 0 });
}

/** When a wait of `waited` ms began. 0 would mean that none waits. */
function startOf(now: number, waited: number): number {
  return Math.max(1, now - waited);
}

function setWaiting(own: Holder, now: number, since: number, { isLasting }: SlotHolder): void {
  own.since = since;
  own.waitsUntil = since === 0 ? 0 : isLasting ? Infinity : now + WAITING_TTL;
}

/** A process that has just called is alive, at least as long as its registration. */
function expiryOf(limit: Limit, now: number, { waitsUntil }: Holder, { isLasting }: SlotHolder): number {
  return isLasting ? Infinity : Math.max(now + limit.period, waitsUntil);
}

function holdersOf({ parts }: BucketState, i: number): Holders {
  return parts[i] as Holders;
}

/** The concurrency limit as an algorithm: its whole state is the `Holders` in `state.parts[i]`. No amount changes it. */
export const concurrency: Algorithm = {
  id: 3,
  title: 'concurrency limit',
  leasable: false,
  strategies: ['reset', 'as-is'],

  fingerprint: ({ size }) => `c${size}`,

  structure: () => 'c',

  divide: divideRequests,

  newPart: () => new Holders(),

  advance: (_limit, state, i, now) => expire(holdersOf(state, i), now),

  setBack(limit, part, now) {
    const holders = part as Holders;
    holders.list = holders.list.map((holder) => ({
      ...holder,
      expiry:
        holder.expiry === Infinity ? Infinity : Math.min(holder.expiry, now + Math.max(limit.period, WAITING_TTL)),
      since: Math.min(holder.since, now),
      waitsUntil: holder.waitsUntil === Infinity ? Infinity : Math.min(holder.waitsUntil, now + WAITING_TTL),
    }));
  },

  wait: () => 0,

  hint: (limit, state, i, holder) => (isAvailable(limit, holdersOf(state, i), state.at, holder) ? 0 : RETRY_HINT),

  take: () => {},

  refund: () => {},

  newMark: () => 0,

  isSpent: () => true,

  cancel: () => {},

  used: (_limit, state, i) => heldSlots(holdersOf(state, i)) * AMOUNT_PER_TOKEN,

  timeToFull(_limit, state, i) {
    const { list } = holdersOf(state, i);
    return list.reduce((longest, { expiry }) => Math.max(longest, expiry - state.at), 0);
  },

  timeToNext: (limit, state, i) => (heldSlots(holdersOf(state, i)) < limit.size ? 0 : RETRY_HINT),

  restrict: () => {},

  replace: (_limit, state, i, from) => holdersOf(state, i).assign(holdersOf(from.state, from.k)),
};

/** At most `size` slots held at once; those of a process that no longer reports are free after `ttl` ms. */
export function concurrencyLimit(size: number, ttl: number): Limit {
  return {
    kind: 'concurrency',
    algorithm: concurrency,
    name: 'concurrency',
    size,
    capacity: size * AMOUNT_PER_TOKEN,
    weight: 1,
    refill: 0,
    period: ttl,
    slot: 1,
    fillTime: ttl,
  };
}

import type { BucketState } from './algorithms/algorithm.js';
import {
  awaitSlot,
  dropUnused,
  grantSlot,
  heldSlots,
  isAvailable,
  isGrantable,
  longestWaiting,
  reportCount,
  reportSlots,
  stopAwaiting,
  takeSlot,
} from './algorithms/concurrency.js';
import type { Holder, Holders } from './algorithms/holders.js';
import { AMOUNT_PER_TOKEN } from './amount.js';
import type { Policy } from './policy.js';
import type { StoreRequest, Take } from './request.js';
import type { SlotHolder } from './slot-holder.js';

/*
 * Slots in a request for several limits. A slot is taken only if all limits admit the request, so a request that waits
 * for one holds nothing until then: where its slot is missing its process is registered, elsewhere it no longer is.
 */

/** Whether a policy of the takes has a concurrency limit. */
export function hasSlots(takes: readonly Take[]): boolean {
  for (let i = 0; i < takes.length; i++) if (takes[i].policy.slotIndex >= 0) return true;
  return false;
}

/** Throws a `RangeError` if a take of slots does not name its holder. */
export function checkHolders({ verb, takes }: StoreRequest): void {
  if (verb !== 'take' && verb !== 'hold') return;
  for (let i = 0; i < takes.length; i++) if (!takes[i].holder) checkSlotless(takes[i].policy);
}

/** Throws a `RangeError` if the policy has slots, which only their holder can take. */
export function checkSlotless({ name, slotIndex }: Policy): void {
  if (slotIndex < 0) return;
  throw new RangeError(`policy ${name} has a concurrency limit, whose slots are held: use acquire() or hold()`);
}

/** Throws a `RangeError` if the policy has no slots. */
export function checkHasSlots({ name, slotIndex }: Policy): void {
  if (slotIndex >= 0) return;
  throw new RangeError(`policy ${name} has no concurrency limit, only tokens: use consume() or tryConsume()`);
}

/** Whether a bucket has no slot for its take. */
export function lacksSlot(takes: readonly Take[], states: readonly BucketState[]): boolean {
  return takes.some((take, i) => isSlotMissing(take, states[i]));
}

function isSlotMissing({ policy, holder }: Take, state: BucketState): boolean {
  const { slotIndex } = policy;
  return slotIndex >= 0 && !isAvailable(policy.limits[slotIndex], holdersOf(policy, state), state.at, holder);
}

/** Takes a slot for a request that is admitted. */
export function takeSlotOf({ policy, holder }: Take, state: BucketState): void {
  if (policy.slotIndex < 0 || !holder) return;
  takeSlot(policy.limits[policy.slotIndex], holdersOf(policy, state), state.at, holder);
  state.changed = true;
}

/** Registers a request that is denied for want of a slot, if it may wait. */
export function awaitSlots(takes: readonly Take[], states: readonly BucketState[]): void {
  for (const [i, take] of takes.entries()) {
    const { policy, holder, maxWait } = take;
    const state = states[i];
    if (policy.slotIndex < 0 || !holder) continue;
    const holders = holdersOf(policy, state);
    if (!isSlotMissing(take, state)) {
      if (holder.waited !== undefined && stopAwaiting(holders, state.at, holder)) state.changed = true;
    } else if (maxWait > 0) {
      awaitSlot(holders, state.at, holder);
      state.changed = true;
    }
  }
}

/** Sets how many slots the holders have whose takes are reports. */
export function reportCounts(takes: readonly Take[], states: readonly BucketState[]): void {
  for (let i = 0; i < takes.length; i++) {
    const { policy, holder } = takes[i];
    const { slotIndex, limits } = policy;
    if (slotIndex < 0 || !holder || !isReport(holder)) continue;
    if (reportCount(limits[slotIndex], holdersOf(policy, states[i]), states[i].at, holder)) states[i].changed = true;
  }
}

/** Whether a take says what its holder has. */
function isReport({ count, sequence }: SlotHolder): boolean {
  return count !== undefined && sequence !== undefined;
}

/**
 * Notifies the process that has waited longest if a take has left slots free; not if it is that of the take, whose answer
 * says so. A denied take has freed slots only if it was a report.
 */
export function offerFreeSlots({ policy, holder }: Take, state: BucketState, allowed: boolean): void {
  if (policy.slotIndex < 0 || !holder) return;
  const holders = holdersOf(policy, state);
  if (!allowed) {
    if (!isReport(holder)) return;
    dropUnused(holders, holder);
  }
  const free = freeSlots(policy, holders);
  const waiting = free > 0 ? longestWaiting(holders) : undefined;
  if (waiting && waiting.id !== holder.id) state.messages = [{ holder: waiting.id, text: `${free}` }];
}

/**
 * Sets what the holder of a take holds and awaits, and grants free slots to the processes that have waited longest; beside
 * other limits it only notifies the first of them. Returns the amount that is granted to the holder itself.
 */
export function hold({ policy, holder }: Take, state: BucketState): number {
  if (policy.slotIndex < 0 || !holder) return 0;
  const { slotIndex, limits } = policy;
  const holders = holdersOf(policy, state);
  if (reportSlots(limits[slotIndex], holders, state.at, holder)) state.changed = true;
  const mayGrant = limits.length === 1 && state.blockedUntil === 0;
  const granted: Holder[] = [];
  let free = freeSlots(policy, holders);
  let waiting = longestWaiting(holders);
  while (free > 0 && waiting && mayGrant && isGrantable(waiting)) {
    grantSlot(holders, waiting);
    state.changed = true;
    granted.push(waiting);
    free--;
    waiting = longestWaiting(holders);
  }
  const others = granted.filter(({ id }) => id !== holder.id);
  const messages = others.map(({ id, sequence }) => ({ holder: id, text: `${free} ${sequence}` }));
  if (free > 0 && waiting) messages.push({ holder: waiting.id, text: `${free}` });
  state.messages = messages;
  return (granted.length - others.length) * AMOUNT_PER_TOKEN;
}

function freeSlots({ slotIndex, limits }: Policy, holders: Holders): number {
  return limits[slotIndex].size - heldSlots(holders);
}

function holdersOf({ slotIndex }: Policy, { parts }: BucketState): Holders {
  return parts[slotIndex] as Holders;
}

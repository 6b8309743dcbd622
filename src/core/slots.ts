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
import type { Policy } from './policy.js';
import type { StoreRequest, Take } from './request.js';

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
    if (slotIndex < 0 || holder?.sequence === undefined) continue;
    if (reportCount(limits[slotIndex], holdersOf(policy, states[i]), states[i].at, holder)) states[i].changed = true;
  }
}

/**
 * Notifies the process that has waited longest if a take has left slots free; not if it is that of the take, whose answer
 * says so. A denied take has freed slots only if it was a report.
 */
export function offerFreeSlots({ policy, holder }: Take, state: BucketState, allowed: boolean): void {
  if (policy.slotIndex < 0 || !holder) return;
  const holders = holdersOf(policy, state);
  if (!allowed) {
    if (holder.sequence === undefined) return;
    dropUnused(holders, holder);
  }
  const free = freeSlots(policy, holders);
  const waiting = free > 0 ? longestWaiting(holders) : undefined;
  if (waiting && waiting.id !== holder.id) state.messages = [{ holder: waiting.id, text: `${free}` }];
}

/**
 * Sets what the holder of a take holds and awaits, and grants free slots to the processes that have waited longest; beside
 * other limits it only notifies the first of them.
 */
export function hold({ policy, holder }: Take, state: BucketState): void {
  if (policy.slotIndex < 0 || !holder) return;
  const { slotIndex, limits } = policy;
  const holders = holdersOf(policy, state);
  if (reportSlots(limits[slotIndex], holders, state.at, holder)) state.changed = true;
  const granted: Holder[] = [];
  let free = freeSlots(policy, holders);
  let waiting = longestWaiting(holders);
  for (; free > 0 && waiting; free--) {
    if (limits.length > 1 || state.blockedUntil > 0 || !isGrantable(waiting)) break;
    grantSlot(holders, waiting);
    state.changed = true;
    granted.push(waiting);
    waiting = longestWaiting(holders);
  }
  if (granted.length > 0)
    state.messages = granted.map(({ id, sequence }) => ({ holder: id, text: `${free} ${sequence}` }));
  if (free > 0 && waiting) state.messages = [...state.messages, { holder: waiting.id, text: `${free}` }];
}

function freeSlots({ slotIndex, limits }: Policy, holders: Holders): number {
  return limits[slotIndex].size - heldSlots(holders);
}

function holdersOf({ slotIndex }: Policy, { parts }: BucketState): Holders {
  return parts[slotIndex] as Holders;
}

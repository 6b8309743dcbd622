import type { BucketState } from './algorithms/algorithm.js';
import {
  awaitSlot,
  heldSlots,
  isAvailable,
  longestWaiting,
  reportSlots,
  stopAwaiting,
  takeSlot,
} from './algorithms/concurrency.js';
import type { Holders } from './algorithms/holders.js';
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

/** Sets what the holder of a take holds and awaits. */
export function hold({ policy, holder }: Take, state: BucketState): void {
  if (policy.slotIndex < 0 || !holder) return;
  const { slotIndex, limits } = policy;
  if (reportSlots(limits[slotIndex], holdersOf(policy, state), state.at, holder)) state.changed = true;
}

/**
 * The message for the process that has waited longest, if slots are free: its `id`, and how many. After a take only if
 * that is not the holder, whose answer says so.
 */
export function freeSlotsMessage(
  verb: 'take' | 'hold',
  { policy, holder }: Take,
  state: BucketState,
): string | undefined {
  if (policy.slotIndex < 0) return undefined;
  const holders = holdersOf(policy, state);
  const free = policy.limits[policy.slotIndex].size - heldSlots(holders);
  const waiting = free > 0 ? longestWaiting(holders) : undefined;
  return waiting && (verb === 'hold' || waiting.id !== holder?.id) ? `${waiting.id} ${free}` : undefined;
}

function holdersOf({ slotIndex }: Policy, { parts }: BucketState): Holders {
  return parts[slotIndex] as Holders;
}

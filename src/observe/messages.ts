import type { Decision } from '../core/decision.js';
import type { Take } from '../core/request.js';
import type { Clock } from '../util/clock.js';
import { type DecisionMessage, decisions, slotHolds, type WaitEnd, waits } from './channels.js';

/** The `transport` of decisions that `BucketService` and `Bucket` make. */
export const BUCKET = 'bucket';

/** Builds the message of a decision. Call it only if the channel has subscribers. */
function decisionMessage(
  { policy, allowed, source, delay, retryAfter, remaining, limit, resetAfter }: Decision,
  takes: readonly Take[],
  transport: string,
  dryRun = false,
): DecisionMessage {
  const { key } = takes.find((take) => take.policy.labels.includes(policy)) ?? takes[0];
  return { policy, allowed, source, delay, retryAfter, remaining, limit, resetAfter, dryRun, transport, key };
}

/** Publishes a decision on its channel. */
export function publishDecision(decision: Decision, takes: readonly Take[], transport: string, dryRun = false): void {
  if (decisions.hasSubscribers) decisions.publish(decisionMessage(decision, takes, transport, dryRun));
}

/**
 * Publishes that a wait begins, and returns a function that publishes its end. The end is published only if the
 * beginning was, so that the numbers of both match.
 */
export function publishWait(
  decision: Decision,
  takes: readonly Take[],
  transport: string,
  clock: Clock,
): (end: WaitEnd) => void {
  if (!waits.hasSubscribers) return publishNothing;
  const message = decisionMessage(decision, takes, transport);
  const began = clock.now();
  waits.publish({ decision: message, end: undefined, waited: 0 });
  return (end) => waits.publish({ decision: message, end, waited: Math.max(0, clock.now() - began) });
}

function publishNothing(): void {}

/** The bucket of a slot. */
interface SlotBucket {
  readonly policy: { readonly name: string };
  readonly key: string;
}

/**
 * Publishes that slots of these buckets are held, and returns a function that publishes their release.
 * Check `hasSubscribers` before. `heldFor` returns the milliseconds since they were taken.
 */
export function publishHold(buckets: readonly SlotBucket[], heldFor: () => number): () => void {
  const publish = (event: 'granted' | 'released') => {
    const held = heldFor();
    for (const { policy, key } of buckets) slotHolds.publish({ policy: policy.name, key, held, event });
  };
  publish('granted');
  return () => publish('released');
}

import type { Decision } from '../core/decision.js';
import type { Take } from '../core/request.js';
import type { Clock } from '../util/clock.js';
import { type DecisionMessage, decisions, type WaitEnd, waits } from './channels.js';

/** The transport of what is no request. */
export const BUCKET = 'bucket';

/** Call it only where somebody listens. */
function decisionMessage(
  { policy, allowed, source, delay, retryAfter, remaining, limit, resetAfter }: Decision,
  takes: readonly Take[],
  transport: string,
  dryRun = false,
): DecisionMessage {
  const { key } = takes.find((take) => take.policy.labels.includes(policy)) ?? takes[0];
  return { policy, allowed, source, delay, retryAfter, remaining, limit, resetAfter, dryRun, transport, key };
}

/** Tells the decision, if anybody listens. */
export function tellDecision(decision: Decision, takes: readonly Take[], transport: string, dryRun = false): void {
  if (decisions.hasSubscribers) decisions.publish(decisionMessage(decision, takes, transport, dryRun));
}

/**
 * Tells that a wait begins, and returns the way to tell its end. Who did not hear of its beginning does not hear of its
 * end either, so that beginnings and ends balance.
 */
export function tellWait(
  decision: Decision,
  takes: readonly Take[],
  transport: string,
  clock: Clock,
): (end: WaitEnd) => void {
  if (!waits.hasSubscribers) return silent;
  const message = decisionMessage(decision, takes, transport);
  const began = clock.now();
  waits.publish({ decision: message, end: undefined, waited: 0 });
  return (end) => waits.publish({ decision: message, end, waited: Math.max(0, clock.now() - began) });
}

function silent(): void {}

import { atTurnEnd } from '../../util/turn-end.js';
import type { PendingRequest } from './pending-request.js';

/** The most requests in one batch. Small enough that the next one is encoded while Redis executes this one. */
const MAX_BATCH = 32;

/** Collects the requests of one turn of the event loop, and sends them in batches. */
export class RequestQueue {
  private requests: PendingRequest[] | undefined;

  constructor(private readonly send: (batch: readonly PendingRequest[]) => void) {}

  push(request: PendingRequest): void {
    if (!this.requests) {
      this.requests = [request];
      // Behind those that send more at the end of this turn, such as reports of slots.
      atTurnEnd(() => atTurnEnd(this.flush));
    } else if (this.requests.push(request) === MAX_BATCH) {
      this.flush();
    }
  }

  private readonly flush = (): void => {
    const { requests } = this;
    this.requests = undefined;
    if (requests) this.send(requests);
  };
}

/** Groups requests by the key of their first bucket. */
export function groupByKey(requests: readonly PendingRequest[]): PendingRequest[][] {
  const groups = new Map<string, PendingRequest[]>();
  for (const pending of requests) {
    const { key } = pending.request.takes[0];
    const group = groups.get(key);
    if (group) group.push(pending);
    else groups.set(key, [pending]);
  }
  return [...groups.values()];
}

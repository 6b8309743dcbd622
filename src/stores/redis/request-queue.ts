import type { PendingRequest } from './pending-request.js';

/** The most requests in one batch. Small enough that the next one is encoded while Redis executes this one. */
const MAX_BATCH = 32;

/** Collects the requests of one turn of the event loop, and sends them in batches. */
export class RequestQueue {
  private requests: PendingRequest[] = [];

  constructor(private readonly send: (batch: readonly PendingRequest[]) => void) {}

  push(request: PendingRequest): void {
    const size = this.requests.push(request);
    // Immediates run after all I/O of this turn of the event loop, and before the timers of the next one.
    if (size === 1) setImmediate(this.flush);
    else if (size === MAX_BATCH) this.flush();
  }

  private readonly flush = (): void => {
    const { requests } = this;
    if (requests.length === 0) return;
    this.requests = [];
    this.send(requests);
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

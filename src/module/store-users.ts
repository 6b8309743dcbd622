import { closeSlots } from '../concurrency/slots.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';

/** How many applications use each store that was passed to the module: tests, or a worker beside a server, share one. */
const users = new WeakMap<RateLimitStore, number>();

/** Counts an application that uses the store. */
export function addUser(store: RateLimitStore): void {
  users.set(store, (users.get(store) ?? 0) + 1);
}

/** Closes the store, unless another application uses it. */
export async function closeUnlessUsed(store: RateLimitStore): Promise<void> {
  const left = Math.max(0, (users.get(store) ?? 0) - 1);
  users.set(store, left);
  if (left > 0) return;
  await closeSlots(store);
  await store.close();
}

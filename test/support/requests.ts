import { setTimeout as sleep } from 'node:timers/promises';
import type { INestApplication } from '@nestjs/common';
import { MemoryStore, type RateLimitModuleOptions } from 'nest-rate-limit';
import type { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { type StoreName, storeOptions } from './create-app.js';

/** Like `storeOptions`, but the store uses the given clock. */
export function clockedStore(store: StoreName, clock: FakeClock): RateLimitModuleOptions {
  if (store === 'memory') return { store: new MemoryStore({ clock }) };
  const options = storeOptions(store);
  return { ...options, store: { ...(options.store as { redis: string }), clock } };
}

/** Sends a GET request to each path, one after the other. Returns the status codes. */
export async function statuses(app: INestApplication, ...paths: string[]): Promise<number[]> {
  const codes: number[] = [];
  for (const path of paths) codes.push((await request(app.getHttpServer()).get(path)).status);
  return codes;
}

/** Polls `condition` every `every` ms until it holds. Returns the elapsed ms. Throws after `ms` ms. */
export async function until(condition: () => boolean | Promise<boolean>, ms = 4000, every = 1): Promise<number> {
  const start = performance.now();
  while (!(await condition())) {
    if (performance.now() - start > ms) throw new Error(`Condition not met within ${ms} ms: ${condition}`);
    await sleep(every);
  }
  return performance.now() - start;
}

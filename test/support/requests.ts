import { setTimeout as sleep } from 'node:timers/promises';
import type { INestApplication } from '@nestjs/common';
import { MemoryStore, type RateLimitModuleOptions } from 'nest-rate-limit';
import type { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { type StoreName, storeOptions } from './create-app.js';

/** Like `storeOptions`, with the buckets on a clock of the test. */
export function clockedStore(store: StoreName, clock: FakeClock): RateLimitModuleOptions {
  if (store === 'memory') return { store: new MemoryStore({ clock }) };
  const options = storeOptions(store);
  return { ...options, store: { ...(options.store as { redis: string }), clock } };
}

/** The statuses of one GET for each path, one after the other. */
export async function statuses(app: INestApplication, ...paths: string[]): Promise<number[]> {
  const found: number[] = [];
  for (const path of paths) found.push((await request(app.getHttpServer()).get(path)).status);
  return found;
}

/** Waits until `holds`, looking each so many ms; tells how long it took. Fails after so long, by default 4 s. */
export async function until(holds: () => boolean | Promise<boolean>, ms = 4000, every = 1): Promise<number> {
  const start = performance.now();
  while (!(await holds())) {
    if (performance.now() - start > ms) throw new Error(`It never came to be: ${holds}`);
    await sleep(every);
  }
  return performance.now() - start;
}

import type { BucketService } from '../bucket/bucket.service.js';
import type { RateLimitStore } from '../stores/rate-limit.store.js';
import type { FakeClock } from './fake-clock.js';

/** Declares a test that runs against an empty store. */
export type DeclareTest = (
  title: string,
  body: (buckets: BucketService, clock: FakeClock, store: RateLimitStore) => Promise<void>,
) => void;

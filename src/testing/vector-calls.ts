import type { Bucket } from '../bucket/bucket.js';
import type { TokenBucket } from '../bucket/token-bucket.js';
import type { ReplaceStrategy } from '../core/algorithms/algorithm.js';
import type { LimitOptions } from '../core/policy.js';
import type { Step } from './vector.js';

type Call<T> = (bucket: T, step: Step, signal: AbortSignal) => Promise<unknown>;

const BUCKET_CALLS: Readonly<Record<string, Call<Bucket>>> = {
  tryConsume: async (bucket, { n }) => ({ allowed: await bucket.tryConsume(n) }),
  decide: (bucket, { n }) => bucket.decide(n),
  estimate: (bucket, { n }) => bucket.estimate(n),
  charge: (bucket, { n }) => bucket.charge(n),
  put: (bucket, { n }) => bucket.put(n),
  available: async (bucket) => ({ available: await bucket.available() }),
  consumeUpTo: async (bucket, { n }) => ({ consumed: await bucket.consumeUpTo(n as number) }),
  block: (bucket, { duration }) => bucket.block(duration as number),
  reset: (bucket) => bucket.reset(),
  unblock: (bucket) => bucket.unblock(),
  consume: (bucket, { n, maxWait }, signal) => bucket.consume(n, { maxWait, signal }),
  watch: (bucket, { n, timeout }, signal) => bucket.watch(n, { timeout, signal }),
  replacePolicy: (bucket, { policy, strategy }) =>
    bucket.replacePolicy(policy as LimitOptions, strategy as ReplaceStrategy),
  /** `count` concurrent takes. */
  burst: async (bucket, { n, count }) => {
    const results = await Promise.all(Array.from({ length: count as number }, () => bucket.tryConsume(n)));
    return { allowedTotal: results.filter((allowed) => allowed).length };
  },
};

const TOKEN_BUCKET_CALLS: Readonly<Record<string, Call<TokenBucket>>> = {
  allow: async (bucket, { n }) => ({ allowed: bucket.allow(n) }),
  tryConsume: async (bucket, { n }) => ({ allowed: bucket.tryConsume(n) }),
  available: async (bucket) => ({ available: bucket.available }),
  wait: (bucket, { n, timeout }, signal) => bucket.wait(n, { timeout, signal }),
};

/** Makes the call of a step on a bucket of the store. */
export async function callBucket(bucket: Bucket, step: Step, signal: AbortSignal): Promise<unknown> {
  return callOf(BUCKET_CALLS, step)(bucket, step, signal);
}

/** Makes the call of a step on a `TokenBucket`. */
export async function callTokenBucket(bucket: TokenBucket, step: Step, signal: AbortSignal): Promise<unknown> {
  return callOf(TOKEN_BUCKET_CALLS, step)(bucket, step, signal);
}

function callOf<T>(calls: Readonly<Record<string, Call<T>>>, { op }: Step): Call<T> {
  if (!Object.hasOwn(calls, op)) throw new Error(`Unknown op ${op}`);
  return calls[op];
}

import { amountFor, bucketName, mergeTakes, type StoreRequest, type Take, type Verb } from '../../core/request.js';
import { RateLimitStoreError } from '../../exceptions/rate-limit-store.error.js';
import { detachedString } from '../../util/detached-string.js';

/** How long a refund or a charge of a bucket without refill is repeated, in ms. */
const LIFETIME_WITHOUT_REFILL = 600_000;

/** The verbs that change a bucket whatever its balance. They mean the store: no failure mode answers them. */
export const EFFECT_VERBS: ReadonlySet<Verb> = new Set<Verb>([
  'put',
  'charge',
  'cancel',
  'reset',
  'block',
  'unblock',
  'replace',
  'hold',
]);

/** The effects on the same bucket that a verb makes void. */
export const SUPERSEDED_VERBS: Readonly<Partial<Record<Verb, readonly Verb[]>>> = {
  unblock: ['block'],
  reset: ['block', 'charge'],
};

/** An effect that the store has not applied yet. */
export interface PendingEffect {
  readonly request: StoreRequest;
  /** When it failed, by the store's clock. */
  readonly at: number;
  /** When it no longer matters, by the store's clock. */
  readonly until: number;
  /** The number of requests whose effect it is: charges of one bucket are summed. */
  readonly count: number;
  /** A later effect on the same bucket has made it void. */
  isSuperseded: boolean;
}

/** Whether a failed effect is repeated. */
export function isRetried({ verb, retry }: StoreRequest, { outcome }: RateLimitStoreError): boolean {
  return retry ?? ((verb === 'charge' || verb === 'block') && outcome === 'unknown');
}

/** Whether a failed attempt can be repeated: a refund without a mark may have been applied, and must not be twice. */
export function isRepeatable({ verb, takes }: StoreRequest, error: unknown): boolean {
  if (!(error instanceof RateLimitStoreError) || error.scope === 'bucket') return false;
  return verb !== 'put' || takes[0].mark !== undefined || error.outcome === 'not-applied';
}

/** The effect of `request`, which fails at `now`; `undefined` if it has none. It keeps nothing of the caller's. */
export function pendingEffect(request: StoreRequest, now: number): PendingEffect | undefined {
  const [{ policy, key, amount, amounts, mark }] = request.takes;
  if (amount === 0 && request.verb !== 'block') return undefined;
  const take: Take = { policy, key: detachedString(key), amount, amounts, mark, maxWait: 0 };
  return {
    request: { ...request, takes: [take] },
    at: now,
    until: now + lifetimeOf(request.verb, take, now, request.duration),
    count: 1,
    isSuperseded: false,
  };
}

/** The time from `now` until a bucket has refilled what an effect changes, in ms; for `block` its duration. */
function lifetimeOf(verb: Verb, take: Take, now: number, duration = 0): number {
  if (verb === 'block') return duration;
  return Math.max(
    ...take.policy.limits.map(({ fillTime, weight, refill, period, calendar }, i) => {
      if (calendar) return calendar.endAt(now) - now;
      if (fillTime === Infinity) return LIFETIME_WITHOUT_REFILL;
      return fillTime + (refill > 0 ? Math.ceil((amountFor(take, i) * weight) / refill) * period : 0);
    }),
  );
}

/** The request that has the effect at `now`: the rest of a block. */
export function requestAt({ request, until }: PendingEffect, now: number): StoreRequest {
  return request.verb === 'block' ? { ...request, duration: until - now } : request;
}

/** Identifies effects of one kind on one bucket. */
export function effectName({ verb, takes: [take] }: StoreRequest): string {
  return `${verb} ${bucketName(take)}`;
}

/** One effect instead of two on the same bucket: the sum of two charges, or the later block. */
export function mergeEffects(one: PendingEffect, other: PendingEffect): PendingEffect {
  const count = one.count + other.count;
  if (one.request.verb === 'block') return { ...(other.until > one.until ? other : one), count };
  const [take] = mergeTakes([one.request.takes[0], other.request.takes[0]]);
  // A mark belongs to one take, and ends with its charge. Those of a sum stay in the bucket, unused.
  const takes = [{ ...take, mark: undefined }];
  const at = Math.max(one.at, other.at);
  return { ...one, request: { ...one.request, takes }, at, until: at + lifetimeOf('charge', take, at), count };
}

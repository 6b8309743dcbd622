import type { StoreAnswer } from '../../core/decision.js';
import { bucketName, type StoreRequest, type Take } from '../../core/request.js';
import { hasSlots } from '../../core/slots.js';
import { BoundedMap } from '../../util/bounded-map.js';
import { detachedString } from '../../util/detached-string.js';
import { chain } from '../../util/maybe-promise.js';
import { answerAt, type Denial, denialOf, newDenial } from './denial.js';
import { StoreWrapper } from './store-wrapper.js';

/** The most denials remembered for single buckets, and as many for several; beyond it, the oldest one is evicted. */
const MAX_DENIALS = 10_000;
/** How long a denial is remembered at most, in ms: refunds, resets and unblocks by other processes are not noticed. */
const MAX_AGE = 1000;

/**
 * Wraps a remote store and remembers denials until their `retryAfter`, for at most a second, and only while their
 * answers are known: until an admission leaves a window, or a block ends. Until then the same request is denied without
 * a call, so a flood from one key costs the store one call per second. Answers are what the store would answer if no
 * other request had come since. When this process changes a bucket, its denials are invalidated. Denials of
 * requests for slots are not remembered: when one is released is unknown.
 */
export class DenyCacheStore extends StoreWrapper {
  /** Denials by bucket. */
  private readonly single = new BoundedMap<string, Denial>(MAX_DENIALS);
  /** Denials of requests for several buckets, by all of their buckets. */
  private readonly joint = new BoundedMap<string, Denial>(MAX_DENIALS, (oldest) => this.remove(oldest));
  /** For each bucket the keys in `joint` that include it. */
  private readonly jointNames = new Map<string, Set<string>>();

  /** The number of denials remembered now. */
  get size(): number {
    return this.single.size + this.joint.size;
  }

  override run(request: StoreRequest): StoreAnswer | Promise<StoreAnswer> {
    const { verb, takes, to } = request;
    const changed = to ? [...takes, { ...takes[0], policy: to }] : takes;
    const isTake = verb === 'take';
    const calledAt = this.clock.now();
    if (isTake) {
      const denial = this.find(takes, calledAt);
      if (denial) return answerAt(denial, calledAt);
    } else if (verb !== 'estimate') {
      this.invalidate(changed);
    }
    const update = (answer: StoreAnswer) => {
      if (isTake && !answer.allowed) this.remember(takes, answer, calledAt);
      // Again after the change: a denial that was in flight may have been remembered since.
      else if (verb !== 'estimate') this.invalidate(changed);
      return answer;
    };
    return chain(this.store.run(request), update);
  }

  private find(takes: readonly Take[], now: number): Denial | undefined {
    if (this.size === 0 || hasSlots(takes)) return undefined;
    const known = takes.length === 1 ? this.single.get(bucketName(takes[0])) : this.joint.get(jointName(takes));
    if (!known) return undefined;
    // If the clock has stepped back, the age of the denial is unknown.
    if (known.calledAt > now || now >= known.knownUntil) {
      this.remove(known);
      return undefined;
    }
    const denial = denialOf(known, takes);
    return denial && takes.every(({ maxWait }) => maxWait < denial.until - now) ? denial : undefined;
  }

  private remember(denied: readonly Take[], answer: StoreAnswer, calledAt: number): void {
    // The denial may have blocked these buckets, which changes what other requests for them are answered.
    if (denied.some(({ policy }) => policy.block > 0)) this.invalidate(denied);
    // A denial without end is not remembered: only a refund ends it, and one by another process is not noticed.
    if (answer.source !== 'store' || answer.retryAfter === Infinity || hasSlots(denied)) return;
    const answeredAt = this.clock.now();
    const takes = denied.map((take) => ({ ...take, key: detachedString(take.key) }));
    const denial = newDenial(takes, answer, calledAt, answeredAt, MAX_AGE);
    if (takes.length === 1) {
      this.single.set(bucketName(takes[0]), denial);
      return;
    }
    const name = jointName(takes);
    this.joint.set(name, denial);
    for (const take of takes) {
      const bucket = bucketName(take);
      const names = this.jointNames.get(bucket);
      if (names) names.add(name);
      else this.jointNames.set(bucket, new Set([name]));
    }
  }

  /** Removes all denials of these buckets. */
  private invalidate(takes: readonly Take[]): void {
    if (this.size === 0) return;
    for (const take of takes) {
      const bucket = bucketName(take);
      this.single.delete(bucket);
      for (const name of this.jointNames.get(bucket) ?? []) this.remove(this.joint.get(name) as Denial);
    }
  }

  private remove({ takes }: Denial): void {
    if (takes.length === 1) {
      this.single.delete(bucketName(takes[0]));
      return;
    }
    const name = jointName(takes);
    this.joint.delete(name);
    for (const take of takes) {
      const bucket = bucketName(take);
      const names = this.jointNames.get(bucket);
      names?.delete(name);
      if (names?.size === 0) this.jointNames.delete(bucket);
    }
  }
}

function jointName(takes: readonly Take[]): string {
  return JSON.stringify(takes.map(bucketName));
}

import { bucketWait } from '../../core/algorithms/token-bucket.js';
import { AMOUNT_PER_TOKEN } from '../../core/amount.js';
import { plainAnswer } from '../../core/answer.js';
import type { LimitState, StoreAnswer } from '../../core/decision.js';
import { bucketName, type StoreRequest, type Take } from '../../core/request.js';
import { chain } from '../../util/maybe-promise.js';
import { StoreWrapper } from './store-wrapper.js';

interface Denial {
  /** What was refused, in the order of the request's takes. */
  readonly takes: readonly Take[];
  readonly answer: StoreAnswer;
  /** When it was asked for and answered, and until when it surely stays refused, by this process's clock. */
  readonly askedAt: number;
  readonly answeredAt: number;
  readonly until: number;
}

/** Most refusals remembered; the oldest goes first. */
const MOST = 10_000;
/** ms for which one is remembered at most: what another process gives back, resets or unblocks is not seen meanwhile. */
const LONGEST = 1000;

/**
 * A store around a store that is far away: a refusal is remembered until its `retryAfter`, but no longer than a second,
 * and the same request is refused without asking again. A flood of one key costs the far store one question per second.
 * Whatever this process changes in a bucket ends what is remembered of it.
 */
export class DenyCacheStore extends StoreWrapper {
  /** By bucket; requests for several buckets by all of them. */
  private readonly single = new Map<string, Denial>();
  private readonly several = new Map<string, Denial>();
  /** For each bucket the requests in `several` that it is part of. */
  private readonly joint = new Map<string, Set<string>>();

  /** Refusals remembered now. */
  get size(): number {
    return this.single.size + this.several.size;
  }

  override run(request: StoreRequest): StoreAnswer | Promise<StoreAnswer> {
    const { verb, takes, to } = request;
    const changed = to ? [...takes, { ...takes[0], policy: to }] : takes;
    const asks = verb === 'take';
    const askedAt = this.clock.now();
    if (asks) {
      const denial = this.find(takes, askedAt);
      if (denial) return remembered(denial, askedAt);
    } else if (verb !== 'estimate') {
      this.forget(changed);
    }
    const learn = (answer: StoreAnswer) => {
      if (asks && !answer.allowed) this.remember(takes, answer, askedAt);
      // Again when it is done: a refusal that was under way before it may have been remembered meanwhile.
      else if (verb !== 'estimate') this.forget(changed);
      return answer;
    };
    return chain(this.store.run(request), learn);
  }

  private find(takes: readonly Take[], now: number): Denial | undefined {
    if (this.size === 0) return undefined;
    const denial = takes.length === 1 ? this.single.get(bucketName(takes[0])) : this.several.get(jointName(takes));
    if (!denial) return undefined;
    // After a step back of the clock nobody knows how much of it is over.
    if (denial.askedAt > now || now >= Math.min(denial.until, denial.askedAt + LONGEST)) {
      this.drop(denial);
      return undefined;
    }
    const refusal = refusalOf(denial, takes);
    return refusal && takes.every(({ maxWait }) => maxWait < refusal.until - now) ? refusal : undefined;
  }

  private remember(takes: readonly Take[], answer: StoreAnswer, askedAt: number): void {
    // A refusal for ever may end by a gift from elsewhere.
    if (answer.source !== 'store' || answer.retryAfter === Infinity) return;
    // By the time of asking: the promise is never outlasted.
    const answeredAt = this.clock.now();
    const denial = { takes, answer: plainAnswer(answer), askedAt, answeredAt, until: askedAt + answer.retryAfter };
    if (takes.length === 1) {
      makeRoom(this.single, (oldest) => this.drop(oldest));
      this.single.set(bucketName(takes[0]), denial);
      return;
    }
    makeRoom(this.several, (oldest) => this.drop(oldest));
    const name = jointName(takes);
    this.several.set(name, denial);
    for (const take of takes) {
      const bucket = bucketName(take);
      const names = this.joint.get(bucket);
      if (names) names.add(name);
      else this.joint.set(bucket, new Set([name]));
    }
  }

  /** Forgets all that these buckets are part of. */
  private forget(takes: readonly Take[]): void {
    if (this.size === 0) return;
    for (const take of takes) {
      const bucket = bucketName(take);
      this.single.delete(bucket);
      for (const name of this.joint.get(bucket) ?? []) this.drop(this.several.get(name) as Denial);
    }
  }

  private drop({ takes }: Denial): void {
    if (takes.length === 1) {
      this.single.delete(bucketName(takes[0]));
      return;
    }
    const name = jointName(takes);
    this.several.delete(name);
    for (const take of takes) {
      const bucket = bucketName(take);
      const names = this.joint.get(bucket);
      names?.delete(name);
      if (names?.size === 0) this.joint.delete(bucket);
    }
  }
}

function makeRoom(denials: Map<string, Denial>, drop: (oldest: Denial) => void): void {
  if (denials.size < MOST) return;
  const [oldest] = denials.values();
  drop(oldest);
}

function jointName(takes: readonly Take[]): string {
  return JSON.stringify(takes.map(bucketName));
}

/** The refusal of a request, by what was refused then; `undefined` where the store must be asked. */
function refusalOf(denial: Denial, takes: readonly Take[]): Denial | undefined {
  // A refusal by this policy would block, and for longer than that of one of the same numbers.
  if (takes.some(({ policy }, i) => policy.block > denial.takes[i].policy.block)) return undefined;
  const same = takes.every(({ amount }, i) => amount === denial.takes[i].amount);
  return same ? denial : dearer(denial, takes);
}

/**
 * More than was refused is refused, too, but its promise is a later one. It is known for one greedy bucket that is not
 * blocked: there the answer tells the balance.
 */
function dearer(denial: Denial, [{ policy, amount }]: readonly Take[]): Denial | undefined {
  const [limit] = policy.limits;
  if (policy.limits.length > 1 || denial.takes.length > 1 || limit.kind !== 'bucket' || limit.period > 1)
    return undefined;
  const [{ amount: refused }] = denial.takes;
  const { answer, askedAt } = denial;
  const debt = Math.round(limit.capacity - answer.balance * AMOUNT_PER_TOKEN * limit.weight);
  if (bucketWait(limit, debt, refused * limit.weight, 0) !== answer.retryAfter) return undefined;
  const retryAfter = bucketWait(limit, debt, amount * limit.weight, 0);
  // Less may pass earlier. What never passes is asked for: its answer tells so.
  if (amount < refused || retryAfter === Infinity) return undefined;
  const limits = answer.limits.map((one): LimitState => ({ ...one, retryAfter }));
  return { ...denial, answer: { ...answer, retryAfter, limits }, until: askedAt + retryAfter };
}

/**
 * The same refusal, with the times that are left of it. Nobody knows when between question and answer it was decided:
 * it is remembered as if that had been at once, and told as if it had been at last, so that no time is too short.
 */
function remembered({ answer, answeredAt }: Denial, now: number): StoreAnswer {
  const left = (ms: number) => Math.max(0, ms - Math.max(0, now - answeredAt));
  const limits = answer.limits.map(
    (limit): LimitState => ({
      ...limit,
      retryAfter: left(limit.retryAfter),
      resetAfter: left(limit.resetAfter),
      moreAfter: left(limit.moreAfter),
    }),
  );
  const { retryAfter, resetAfter } = answer;
  return { ...answer, retryAfter: left(retryAfter), resetAfter: left(resetAfter), source: 'cache', limits };
}

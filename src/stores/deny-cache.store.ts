import type { Clock } from '../core/clock.js';
import type { LimitState, StoreAnswer } from '../core/decision.js';
import type { Policy } from '../core/policy.js';
import type { StoreRequest, Take } from '../core/request.js';
import { GIVING_VERBS, RateLimitStore, type StoreHealth } from './rate-limit.store.js';

interface Denial {
  /** What was refused, in the order of the request's takes. */
  readonly takes: readonly Take[];
  readonly answer: StoreAnswer;
  /** When it was asked for, and until when it stays refused, by this process's clock. */
  readonly askedAt: number;
  readonly until: number;
}

/** Most refusals remembered; the oldest goes first. */
const MOST = 10_000;

/**
 * A store around a store that is far away: a refusal is remembered until its `retryAfter`, and the same request, or
 * one for more, is refused without asking again. A flood costs the far store one question per promise.
 */
export class DenyCacheStore extends RateLimitStore {
  readonly clock: Clock;
  /** By bucket; requests for several buckets by all of them, apart, because one gift may end any of those. */
  private readonly single = new Map<string, Denial>();
  private readonly several = new Map<string, Denial>();

  constructor(readonly store: RateLimitStore) {
    super();
    this.clock = store.clock;
  }

  override run(request: StoreRequest): StoreAnswer | Promise<StoreAnswer> {
    if (request.verb !== 'take') return this.runOther(request);
    const denials = request.takes.length === 1 ? this.single : this.several;
    const name = nameOf(request.takes);
    const denial = denials.get(name);
    const askedAt = this.clock.now();
    if (denial) {
      if (denial.until <= askedAt) denials.delete(name);
      else if (covers(denial, request.takes, askedAt)) return remembered(denial, askedAt);
    }
    const answer = this.store.run(request);
    return answer instanceof Promise
      ? answer.then((late) => this.remember(denials, name, request, late, askedAt))
      : this.remember(denials, name, request, answer, askedAt);
  }

  override subscribe(policy: Policy, key: string, listener: () => void): () => void {
    return this.store.subscribe(policy, key, listener);
  }

  override health(): StoreHealth {
    return this.store.health();
  }

  override close(): void | Promise<void> {
    return this.store.close();
  }

  private remember(
    denials: Map<string, Denial>,
    name: string,
    { takes }: StoreRequest,
    answer: StoreAnswer,
    askedAt: number,
  ): StoreAnswer {
    // By the time of asking: the promise is never outlasted. A refusal for ever may end by a gift from elsewhere.
    if (!answer.allowed && answer.source === 'store' && answer.retryAfter !== Infinity) {
      if (denials.size >= MOST) denials.delete(denials.keys().next().value as string);
      denials.set(name, { takes, answer, askedAt, until: askedAt + answer.retryAfter });
    }
    return answer;
  }

  private runOther(request: StoreRequest): StoreAnswer | Promise<StoreAnswer> {
    const answer = this.store.run(request);
    if (!GIVING_VERBS.has(request.verb)) return answer;
    const forget = () => {
      for (const take of request.takes) this.single.delete(nameOf([take]));
      this.several.clear();
    };
    forget();
    if (!(answer instanceof Promise)) return answer;
    // And again when it is done: a refusal that was under way before it may have been remembered meanwhile.
    return answer.finally(forget);
  }
}

function nameOf(takes: readonly Take[]): string {
  const [{ policy, key }] = takes;
  if (takes.length === 1) return `${policy.id} ${key}`;
  return JSON.stringify(takes.map((take) => [take.policy.id, take.key]));
}

/** Whether what was refused then is refused now: at least as much, and with less patience than is needed. */
function covers(denial: Denial, takes: readonly Take[], now: number): boolean {
  return takes.every(({ amount, maxWait }, i) => amount >= denial.takes[i].amount && maxWait < denial.until - now);
}

/** The same refusal, with the times that are left of it. */
function remembered({ answer, askedAt }: Denial, now: number): StoreAnswer {
  const left = (ms: number) => Math.max(0, ms - (now - askedAt));
  const limits = answer.limits.map(
    (limit): LimitState => ({
      ...limit,
      retryAfter: left(limit.retryAfter),
      resetAfter: left(limit.resetAfter),
      moreAfter: left(limit.moreAfter),
    }),
  );
  return {
    allowed: false,
    policy: answer.policy,
    limit: answer.limit,
    remaining: answer.remaining,
    retryAfter: left(answer.retryAfter),
    resetAfter: left(answer.resetAfter),
    delay: 0,
    source: 'cache',
    limits,
    balance: answer.balance,
    taken: 0,
    actAt: undefined,
  };
}

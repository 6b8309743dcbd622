import { AMOUNT_PER_TOKEN } from '../../core/amount.js';
import { plainAnswer } from '../../core/answer.js';
import type { DecisionSource, StoreAnswer } from '../../core/decision.js';
import type { Policy } from '../../core/policy.js';
import { bucketName, type StoreRequest, type Take } from '../../core/request.js';
import { every } from '../../util/clock.js';
import type { RateLimitStore } from '../rate-limit.store.js';
import { StoreWrapper } from './store-wrapper.js';

/** Tokens of one bucket that this process has taken and not yet spent. */
interface Lease {
  readonly take: Take;
  /** Thousandths of a token. */
  left: number;
  /** What those want, in the same unit, who wait for what is asked of the store now. */
  wanted: number;
  usedAt: number;
  /** The last answer of the store; what it said is shown until it is asked again. */
  answer: StoreAnswer | undefined;
  /** What is asked of the store now: it tells who has answered. */
  asking: Promise<DecisionSource> | undefined;
  /** The store had less than it was asked for: until somebody passes there, each asks for himself. */
  dry: boolean;
}

const RETURN_AFTER = 1000;
const MOST = 10_000;

/**
 * A store around a store that is far away: for a policy with `lease: n` it takes up to n tokens at once, or as many as
 * are wanted at that moment, and spends them here. No token is ever spent twice; those that a process holds are missing
 * elsewhere, so they are given back when they have not been touched for a second, and when the store is closed.
 */
export class LeaseStore extends StoreWrapper {
  private readonly leases = new Map<string, Lease>();
  private readonly stop: () => void;

  constructor(store: RateLimitStore) {
    super(store);
    this.stop = every(RETURN_AFTER, () => void this.returnIdle());
  }

  override run(request: StoreRequest): StoreAnswer | Promise<StoreAnswer> {
    const { verb, takes, to } = request;
    const [take] = takes;
    if (!isLeased(takes, to) || STAYS.has(verb)) return this.store.run(request);
    if (verb === 'take' && takes.length === 1 && take.maxWait === 0) return this.spend(take);
    return this.runWithAll(request);
  }

  override async close(): Promise<void> {
    this.stop();
    await this.giveAllBack([...this.leases.values()]);
    await this.store.close();
  }

  private async spend(take: Take): Promise<StoreAnswer> {
    for (;;) {
      const lease = this.leaseOf(take);
      lease.usedAt = this.clock.now();
      if (lease.left >= take.amount) return spend(lease, take);
      if (lease.dry && !lease.asking) return this.takeRest(lease, take);
      // While one asks for more, the others wait for what he gets, and hear what he hears.
      lease.wanted += take.amount;
      try {
        lease.asking ??= this.askFor(lease).finally(() => {
          lease.asking = undefined;
        });
        const source = await lease.asking;
        if (source !== 'store') return this.store.run({ verb: 'take', takes: [take], source });
      } finally {
        lease.wanted -= take.amount;
      }
    }
  }

  private leaseOf(take: Take): Lease {
    const name = bucketName(take);
    let lease = this.leases.get(name);
    if (!lease) {
      lease = { take, left: 0, wanted: 0, usedAt: 0, answer: undefined, asking: undefined, dry: false };
      this.leases.set(name, lease);
      const [oldest] = this.leases.values();
      if (this.leases.size > MOST) this.giveBack(oldest).catch(() => {});
    }
    return lease;
  }

  /** Takes more: as much as a lease holds, or as is wanted by now. */
  private async askFor(lease: Lease): Promise<DecisionSource> {
    const { take } = lease;
    const missing = Math.max(take.policy.lease, lease.wanted) - lease.left;
    const amount = Math.ceil(missing / AMOUNT_PER_TOKEN) * AMOUNT_PER_TOKEN;
    const more = await this.store.run({ verb: 'takeUpTo', takes: [{ ...take, amount }] });
    const { source } = more;
    const taken = Math.round(more.taken * AMOUNT_PER_TOKEN);
    if (source === 'store') {
      lease.left += taken;
      lease.answer = plainAnswer(more);
      lease.dry = taken < missing;
    } else if (taken > 0) {
      // The store is away: nothing is held back of what decides meanwhile.
      await this.store.run({ verb: 'put', source, takes: [{ ...take, amount: taken }] });
    }
    return source;
  }

  /** Takes from the store what is missing here, or tells why it is not there. */
  private async takeRest(lease: Lease, take: Take): Promise<StoreAnswer> {
    const held = lease.left;
    const amount = take.amount - held;
    const asked = Promise.resolve(this.store.run({ verb: 'take', takes: [{ ...take, amount }] }));
    if (held > 0) {
      // Nobody else's meanwhile: who would spend it, or give it back, waits until it is known.
      lease.left = 0;
      lease.asking = asked
        .then(({ source }) => source)
        .finally(() => {
          lease.asking = undefined;
        });
      lease.asking.catch(() => {});
    }
    try {
      const rest = await asked;
      if (!rest.allowed) return rest;
      lease.dry = false;
      if (held === 0) return rest;
      lease.answer = plainAnswer(rest);
      lease.left += amount;
    } finally {
      lease.left += held;
    }
    return spend(lease, take);
  }

  /** What needs to see the whole bucket: first this process gives back what it holds of it. */
  private async runWithAll(request: StoreRequest): Promise<StoreAnswer> {
    const { verb, takes, to } = request;
    for (const lease of this.leasesOf(to ? [...takes, { ...takes[0], policy: to }] : takes)) await this.giveBack(lease);
    const answer = await this.store.run(request);
    // Again when a change is done: what was leased meanwhile is of the bucket that was.
    if (!LOOKS.has(verb)) await this.giveAllBack(this.leasesOf(takes));
    return answer;
  }

  private leasesOf(takes: readonly Take[]): Lease[] {
    return takes.flatMap((take) => this.leases.get(bucketName(take)) ?? []);
  }

  private async giveBack(lease: Lease): Promise<void> {
    const { take } = lease;
    const name = bucketName(take);
    // What is being asked for will be held here, too, and who waited for it may have asked for more.
    while (lease.asking) await lease.asking.catch(() => {});
    if (this.leases.get(name) !== lease) return;
    this.leases.delete(name);
    const { left } = lease;
    lease.left = 0;
    if (left > 0) await this.store.run({ verb: 'put', takes: [{ ...take, amount: left }] });
  }

  /** What cannot be given back now is lost to all until the bucket has refilled. */
  private async giveAllBack(leases: readonly Lease[]): Promise<void> {
    await Promise.allSettled(leases.map((lease) => this.giveBack(lease)));
  }

  private async returnIdle(): Promise<void> {
    const now = this.clock.now();
    await this.giveAllBack(
      [...this.leases.values()].filter(({ usedAt, asking }) => !asking && now - usedAt >= RETURN_AFTER),
    );
  }
}

/** These are right whatever a process holds. */
const STAYS: ReadonlySet<string> = new Set(['put', 'charge', 'cancel']);
/** These change no bucket but by taking. */
const LOOKS: ReadonlySet<string> = new Set(['take', 'takeUpTo', 'estimate']);

function isLeased(takes: readonly Take[], to: Policy | undefined): boolean {
  if (to && to.lease > 0) return true;
  for (const { policy } of takes) if (policy.lease > 0) return true;
  return false;
}

/** Spends what is held here; the answer shows what is left here and was left there. */
function spend(lease: Lease, take: Take): StoreAnswer {
  lease.left -= take.amount;
  const { left } = lease;
  const known = lease.answer as StoreAnswer;
  const balance = known.balance + left / AMOUNT_PER_TOKEN;
  const remaining = Math.max(0, balance);
  return {
    ...known,
    allowed: true,
    remaining,
    retryAfter: 0,
    delay: 0,
    source: 'cache',
    limits: known.limits.map((limit) => ({
      ...limit,
      remaining: Math.min(limit.limit, limit.remaining + left / AMOUNT_PER_TOKEN),
      retryAfter: 0,
    })),
    balance,
    taken: take.amount / AMOUNT_PER_TOKEN,
    actAt: undefined,
  };
}

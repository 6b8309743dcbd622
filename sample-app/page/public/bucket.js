import { now, seconds } from './dom.js';

/** One bucket. Its level is computed from the last decision: the remaining tokens and the time until it is full. */
export class Bucket {
  /** Milliseconds from empty to full. */
  refillTime = Infinity;
  retryAt = 0;
  known = false;

  constructor(policy, limit) {
    this.policy = this.title = policy;
    this.limit = this.remaining = limit;
    this.refillsFrom = this.resetAt = 0;
  }

  update({ limit, remaining, resetAfter, retryAfter, allowed }) {
    const time = now();
    // JSON has no Infinity.
    const reset = resetAfter ?? Infinity;
    const missing = (limit - remaining) / limit;
    if (missing > 0) this.refillTime = Math.min(limit === this.limit ? this.refillTime : Infinity, reset / missing);
    Object.assign(this, { limit, remaining, known: true, resetAt: time + reset, usedAt: time });
    // A bucket in debt stays empty until the debt is paid.
    this.refillsFrom = remaining > 0 ? time : Math.max(time, this.resetAt - this.refillTime);
    this.retryAt = allowed ? 0 : time + (retryAfter ?? Infinity);
  }

  level(time) {
    if (time >= this.resetAt) return this.limit;
    if (time <= this.refillsFrom) return this.remaining;
    const refilled = (time - this.refillsFrom) / (this.resetAt - this.refillsFrom);
    return this.remaining + (this.limit - this.remaining) * refilled;
  }

  /** `unknown`, `full`, `partial`, or `empty`: a request that costs one token would be denied. */
  state(time) {
    if (!this.known) return 'unknown';
    const level = this.level(time);
    return level < 1 ? 'empty' : level < this.limit ? 'partial' : 'full';
  }

  note(time) {
    const state = this.state(time);
    if (state === 'unknown') return 'no decision yet';
    if (state === 'full') return 'full';
    if (this.retryAt === Infinity) return 'no retry possible';
    if (this.retryAt > time) return `retry in ${seconds(this.retryAt - time)}`;
    return this.resetAt === Infinity ? 'does not refill' : `full in ${seconds(this.resetAt - time)}`;
  }
}

/** The slots of a concurrency limit that are free: nothing refills them, each is free again when it is released. */
export class SlotBucket extends Bucket {
  update({ limit, remaining }) {
    Object.assign(this, { limit, remaining, known: true, usedAt: now() });
  }

  release() {
    this.remaining = Math.min(this.limit, this.remaining + 1);
  }

  level() {
    return this.remaining;
  }

  note(time) {
    return { unknown: 'no decision yet', full: 'all slots free', partial: 'in use', empty: 'no slot free' }[
      this.state(time)
    ];
  }
}

/** In a sliding window, all tokens of a request return together, when the request leaves the window. */
export class WindowBucket extends Bucket {
  taken = [];

  update(decision) {
    super.update(decision);
    const missing = this.level(now()) - this.remaining;
    if (missing > 0) this.taken.push({ count: missing, until: this.resetAt });
    // The store has more than expected: tokens were refunded.
    while (this.taken.length && this.level(now()) < this.remaining) this.taken.pop();
  }

  level(time) {
    this.taken = this.taken.filter(({ until }) => until > time);
    return this.taken.reduce((left, { count }) => left - count, this.limit);
  }
}

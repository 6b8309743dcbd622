import { at, make, now, seconds, write } from './dom.js';
import { ROUTES } from './routes.js';

const MAX_GAUGES = 24;

/** One bucket. Its level is computed from the last decision: the remaining tokens and the time until it is full. */
class Gauge {
  full = Infinity;
  retryAt = 0;
  known = false;

  constructor(policy, limit) {
    this.policy = policy;
    this.limit = this.remaining = limit;
    this.began = this.resetAt = 0;
    this.element = make(`<li class="unknown"><svg viewBox="0 0 100 100" role="meter" aria-valuemin="0">
      <g clip-path="url(#inside)"><rect x="0" y="14" width="100" height="82"></rect></g>
      <path d="M12 14H88L78 90Q77 96 71 96H29Q23 96 22 90Z"></path></svg><div><h3></h3><p><b></b> <span></span></p><small></small></div></li>`);
    this.meter = this.element.querySelector('svg');
    this.meter.setAttribute('aria-label', policy);
    this.water = this.element.querySelector('rect');
    [this.title, this.left, this.of, this.note] = this.element.querySelectorAll('h3, b, span, small');
    // A long name can break after its dot or before a word.
    for (const part of policy.split(/(?<=\.)|(?<=[a-z])(?=[A-Z])/))
      this.title.append(part, document.createElement('wbr'));
    at('buckets').append(this.element);
  }

  update({ limit, remaining, resetAfter, retryAfter, allowed }) {
    const time = now();
    const reset = resetAfter ?? Infinity;
    // `full` is the time from empty to full. A bucket in debt stays at 0 until the debt is paid.
    const share = (limit - remaining) / limit;
    if (share > 0) this.full = Math.min(limit === this.limit ? this.full : Infinity, reset / share);
    Object.assign(this, { limit, remaining, known: true, resetAt: time + reset });
    this.began = remaining > 0 ? time : Math.max(time, this.resetAt - this.full);
    this.retryAt = allowed ? 0 : time + (retryAfter ?? Infinity);
    this.usedAt = time;
  }

  level(time) {
    if (time >= this.resetAt) return this.limit;
    if (time <= this.began) return this.remaining;
    return this.remaining + ((this.limit - this.remaining) * (time - this.began)) / (this.resetAt - this.began);
  }

  draw(time) {
    const level = this.level(time);
    const shown = Number.isInteger(level) ? `${level}` : (Math.floor(level * 10) / 10).toFixed(1);
    this.water.style.transform = `translateY(${(1 - level / this.limit) * 82}px)`;
    this.element.className = this.known ? (level < 1 ? 'empty' : level < this.limit / 3 ? 'low' : '') : 'unknown';
    write(this.left, shown);
    write(this.of, `of ${this.limit}`);
    write(this.note, this.noteAt(time));
    if (this.meter.getAttribute('aria-valuenow') === shown) return;
    this.meter.setAttribute('aria-valuemax', this.limit);
    this.meter.setAttribute('aria-valuenow', shown);
  }

  noteAt(time) {
    if (!this.known) return 'no request yet';
    if (this.retryAt > time)
      return this.retryAt === Infinity ? 'no retry possible' : `again in ${seconds(this.retryAt - time)}`;
    if (time >= this.resetAt) return 'full';
    return this.resetAt === Infinity ? 'does not refill' : `full in ${seconds(this.resetAt - time)}`;
  }
}

/** A sliding window gains back all tokens of a request together, when the request leaves the window. */
class WindowGauge extends Gauge {
  taken = [];

  update(decision) {
    super.update(decision);
    const missing = this.level(now()) - this.remaining;
    if (missing > 0) this.taken.push({ tokens: missing, until: this.resetAt });
    // The store has more than expected: tokens were refunded.
    while (this.level(now()) < this.remaining) this.taken.pop();
  }

  level(time) {
    this.taken = this.taken.filter(({ until }) => until > time);
    return this.taken.reduce((left, { tokens }) => left - tokens, this.limit);
  }
}

function newGauge(policy, limit) {
  const isWindow = ROUTES.some((route) => route.policy === policy && route.window);
  return isWindow ? new WindowGauge(policy, limit) : new Gauge(policy, limit);
}

/** Gauges by policy and bucket. A policy has a gauge before its first request. */
const gauges = new Map();
for (const { policy, limit } of ROUTES) if (policy && !gauges.has(policy)) gauges.set(policy, newGauge(policy, limit));

export function gaugeOf({ policy, bucket, limit }) {
  const name = `${policy} ${bucket}`;
  let gauge = gauges.get(name);
  if (gauge) return gauge;
  gauge = gauges.get(policy) ?? newGauge(policy, limit);
  gauges.delete(policy);
  gauges.set(name, gauge);
  // Several buckets of one policy are distinguished by a suffix.
  const siblings = [...gauges.values()].filter((other) => other.policy === policy);
  if (siblings.length > 1) gauge.title.append(` #${bucket}`);
  if (gauges.size > MAX_GAUGES) {
    const [oldest] = [...gauges].sort(([, a], [, b]) => (a.usedAt ?? Infinity) - (b.usedAt ?? Infinity));
    oldest[1].element.remove();
    gauges.delete(oldest[0]);
  }
  return gauge;
}

export function drawGauges(time) {
  for (const gauge of gauges.values()) gauge.draw(time);
}

/** What can be tried, and the bucket that it draws from: its policy and how much it holds. */
const ROUTES = [
  {
    path: '/api/ping',
    policy: 'api',
    limit: 5,
    idea: 'A named policy: 5 tokens at once, one more each second. A ping costs 1.',
  },
  { path: '/api/upload', post: '', policy: 'api', limit: 5, idea: 'The same bucket as /api/ping. An upload costs 3.' },
  {
    path: '/limited',
    policy: 'HelloController.limited',
    limit: 2,
    idea: 'A sliding window: 2 requests in any 10 seconds.',
  },
  {
    path: '/sms',
    post: 'phone=+4930901820',
    policy: 'SmsController.send',
    limit: 20,
    idea: 'A bucket for each phone number: 20 at once, 10 per minute.',
  },
  {
    path: '/mail',
    post: 'to=ada@example.com',
    policy: 'mail',
    limit: 5,
    idea: 'A service that asks by itself: 5 mails at once, one more each second.',
  },
  {
    path: '/queue',
    policy: 'QueueController.enter',
    limit: 1,
    idea: 'Waiting in line: one per second, 5 seconds at most. A browser has six requests under way and keeps the others back.',
  },
  {
    path: '/login',
    post: 'user=ada&password=wrong',
    policy: 'LoginController.login',
    limit: 5,
    idea: 'A wrong password. Only failures count; after 5 in a minute all is refused for a minute.',
  },
  {
    path: '/reports?rows=70',
    policy: 'ReportsController.report',
    limit: 100,
    idea: 'A cost that is known afterwards: 70 rows cost 70. The gauge sees it with the next request.',
  },
  { path: '/free', idea: 'No limit, and so no bucket and no decision.' },
];
const KINDS = ['allowed', 'waited', 'degraded', 'refused'];
const SOURCES = {
  store: '',
  cache: 'from the cache of refusals',
  fallback: 'degraded: decided in this process',
  open: 'degraded: let pass by nobody',
};
const MINUTE = 60_000;
const MOST_GAUGES = 24;
const MOST_LINES = 30;

const at = (id) => document.getElementById(id);
const now = () => performance.now();
const seconds = (ms) => `${(Math.max(0, ms) / 1000).toFixed(1)} s`;
/** Sets what has changed only, so that nothing is drawn or read aloud again. */
const write = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};
const make = (html) => {
  const template = document.createElement('template');
  template.innerHTML = html;
  return template.content.firstElementChild;
};

/** One bucket. Its level is computed from the last decision: how much was left, and when it is full again. */
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
      <path d="M12 14H88L78 90Q77 96 71 96H29Q23 96 22 90Z"></path></svg><div><h3></h3><b></b> <span></span><small></small></div></li>`);
    this.meter = this.element.querySelector('svg');
    this.meter.setAttribute('aria-label', policy);
    this.water = this.element.querySelector('rect');
    [this.title, this.left, this.of, this.note] = this.element.querySelectorAll('h3, b, span, small');
    // A long name breaks after its dot.
    for (const part of policy.split(/(?<=\.)/)) this.title.append(part, document.createElement('wbr'));
    at('buckets').append(this.element);
  }

  decided({ limit, remaining, resetAfter, retryAfter, allowed }) {
    const time = now();
    const reset = resetAfter ?? Infinity;
    // How long an empty one takes. What is in debt, or queued for, begins to refill only when that is paid.
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
    write(this.note, this.told(time));
    if (this.meter.getAttribute('aria-valuenow') === shown) return;
    this.meter.setAttribute('aria-valuemax', this.limit);
    this.meter.setAttribute('aria-valuenow', shown);
  }

  told(time) {
    if (!this.known) return 'no request yet';
    if (this.retryAt > time)
      return this.retryAt === Infinity ? 'refused for good' : `again in ${seconds(this.retryAt - time)}`;
    if (time >= this.resetAt) return 'full';
    return this.resetAt === Infinity ? 'does not refill' : `full in ${seconds(this.resetAt - time)}`;
  }
}

/** By policy and bucket. A policy that nobody has asked yet has a gauge already. */
const gauges = new Map();
for (const { policy, limit } of ROUTES) if (policy && !gauges.has(policy)) gauges.set(policy, new Gauge(policy, limit));

function gaugeOf({ policy, bucket, limit }) {
  const name = `${policy} ${bucket}`;
  let gauge = gauges.get(name);
  if (gauge) return gauge;
  gauge = gauges.get(policy) ?? new Gauge(policy, limit);
  gauges.delete(policy);
  gauges.set(name, gauge);
  // Where a policy has several buckets, they must be told apart.
  const alike = [...gauges.values()].filter((other) => other.policy === policy);
  if (alike.length > 1) gauge.title.append(` #${bucket}`);
  if (gauges.size > MOST_GAUGES) {
    const [oldest] = [...gauges].sort(([, a], [, b]) => (a.usedAt ?? Infinity) - (b.usedAt ?? Infinity));
    oldest[1].element.remove();
    gauges.delete(oldest[0]);
  }
  return gauge;
}

/** What was decided in each second, newest last: `{ second, allowed, waited, degraded, refused }`. */
const history = [];

function count(kind) {
  const second = Math.floor(now() / 1000);
  if (history.at(-1)?.second !== second) history.push({ second, allowed: 0, waited: 0, degraded: 0, refused: 0 });
  history.at(-1)[kind]++;
}

function kindOf({ allowed, delay, source, dryRun }) {
  if (!allowed && !dryRun) return 'refused';
  if (source === 'fallback' || source === 'open') return 'degraded';
  return delay > 0 ? 'waited' : 'allowed';
}

const plot = at('plot');
for (const kind of KINDS) {
  const path = document.createElementNS(plot.namespaceURI, 'path');
  path.classList.add(kind);
  plot.append(path);
  at('counts').append(make(`<div class="${kind}"><dt>${kind}</dt><dd id="${kind}">0</dd></div>`));
}

function drawPlot(time) {
  while (history.length && history[0].second * 1000 < time - MINUTE) history.shift();
  const sum = (entry) => KINDS.reduce((total, kind) => total + entry[kind], 0);
  const most = Math.max(5, ...history.map(sum));
  const bases = history.map(() => 100);
  for (const [i, kind] of KINDS.entries()) {
    let path = '';
    for (const [j, entry] of history.entries()) {
      const height = (entry[kind] / most) * 100;
      bases[j] -= height;
      if (height) path += `M${60 - time / 1000 + entry.second} ${bases[j]}h.85v${height}h-.85z`;
    }
    plot.children[i].setAttribute('d', path);
    write(at(kind), `${history.reduce((total, entry) => total + entry[kind], 0)}`);
  }
  write(at('most'), `highest bar: ${Math.max(0, ...history.map(sum))} per second`);
}

/** The newest line of the log: an event like it is counted there. */
let newest = { alike: '', times: 0 };

function lineOf(event, times) {
  const { policy, limit, remaining, retryAfter, delay, source, end, waited, health, dryRun } = event;
  const kind = health ? (health === 'up' ? 'allowed' : 'degraded') : end ? 'waited' : kindOf(event);
  const line = make(`<li class="${kind}"><b></b><span></span><span></span><span></span></li>`);
  const [word, name, left, note] = line.children;
  if (health) {
    word.textContent = 'store';
    name.textContent = health === 'up' ? 'answers again' : 'does not answer';
    return line;
  }
  word.textContent = end ? (end === 'passed' ? 'its turn' : end) : kind === 'waited' ? 'waits' : kind;
  if (times > 1) word.textContent += ` × ${times}`;
  name.textContent = policy;
  if (!end) left.textContent = `${Math.floor(remaining * 10) / 10} of ${limit} left`;
  const notes = [SOURCES[source], dryRun && 'on trial'];
  if (end) notes.unshift(`after ${seconds(waited)}`);
  else if (delay > 0) notes.unshift(`for ${seconds(delay)}`);
  else if (kind === 'refused') notes.unshift(retryAfter === null ? 'for good' : `again in ${seconds(retryAfter)}`);
  note.textContent = notes.filter(Boolean).join(', ');
  return line;
}

function onDecisions({ data }) {
  const events = JSON.parse(data);
  for (const event of events) {
    if (event.health || event.end) continue;
    gaugeOf(event).decided(event);
    count(kindOf(event));
  }
  const log = at('log');
  for (const event of events) {
    const { policy, bucket, source, end, health } = event;
    const alike = [policy, bucket, source, end, health, health || kindOf(event)].join();
    const again = alike === newest.alike;
    if (again || !newest.times) log.firstElementChild.remove();
    newest = { alike, times: again ? newest.times + 1 : 1 };
    log.prepend(lineOf(event, newest.times));
  }
  while (log.children.length > MOST_LINES) log.lastChild.remove();
}

function onRedis({ data }) {
  const { state } = JSON.parse(data);
  at('pause').disabled = state === 'none';
  at('pause').checked = state === 'paused';
  at('status').className = state === 'paused' ? 'paused' : 'live';
  at('status').textContent = {
    none: 'Live: buckets are in memory',
    runs: 'Live: buckets are in Redis',
    paused: 'Live: Redis is paused',
  }[state];
  at('why').textContent =
    state === 'none'
      ? 'Not possible: the buckets are in memory. Start the app with REDIS_URL to see what happens when Redis fails.'
      : 'The app stops talking to Redis. Until it is back, each process decides alone.';
}

/** Requests of one click together, as they are answered. */
class Round {
  sent = 0;
  statuses = new Map();

  constructor({ path, post }) {
    Object.assign(this, { path, post });
  }

  async send() {
    this.sent++;
    const body = this.post === undefined ? undefined : new URLSearchParams(this.post.replaceAll('+', '%2B'));
    try {
      const { status, headers } = await fetch(this.path, { method: body ? 'POST' : 'GET', body, cache: 'no-store' });
      this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1);
      if (headers.has('Retry-After')) retryAt = now() + Number(headers.get('Retry-After')) * 1000;
    } catch {
      this.statuses.set('no answer', (this.statuses.get('no answer') ?? 0) + 1);
    }
    const answers = [...this.statuses].map(([status, times]) => `${times}\u00a0×\u00a0${status}`).join(', ');
    write(at('result'), `${this.path}: ${this.sent} sent, ${answers}`);
  }

  async flood(end) {
    while (now() < end) await Promise.all([this.send(), new Promise((next) => setTimeout(next, 80))]);
  }
}

let retryAt = 0;
function drawRetry(time) {
  const waiting = retryAt > time;
  at('retry').className = waiting ? 'refused' : '';
  write(at('retry').lastElementChild, waiting ? `${Math.ceil((retryAt - time) / 1000)} s` : retryAt ? '0 s' : '–');
}

const chosen = () => ROUTES[at('route').value];
for (const [i, { path, post }] of ROUTES.entries())
  at('route').add(new Option(`${post === undefined ? 'GET' : 'POST'} ${path}`, i));
const tellIdea = () => write(at('idea'), chosen().idea);
at('route').addEventListener('change', tellIdea);
tellIdea();

const times = (count, run) => Array.from({ length: count }, run);
at('one').addEventListener('click', () => new Round(chosen()).send());
at('burst').addEventListener('click', () => {
  const round = new Round(chosen());
  times(30, () => round.send());
});
at('flood').addEventListener('click', () => {
  const round = new Round(chosen());
  times(4, () => round.flood(now() + 5000));
});
at('pause').addEventListener('change', ({ target }) => {
  fetch('/demo-redis', { method: 'POST', body: new URLSearchParams({ paused: target.checked }) });
});

const source = new EventSource('/events');
source.addEventListener('decisions', onDecisions);
source.addEventListener('redis', onRedis);
source.addEventListener('error', () => {
  at('status').className = 'lost';
  at('status').textContent = 'The app is away; trying again';
});

requestAnimationFrame(function draw() {
  const time = now();
  for (const gauge of gauges.values()) gauge.draw(time);
  drawPlot(time);
  drawRetry(time);
  requestAnimationFrame(draw);
});

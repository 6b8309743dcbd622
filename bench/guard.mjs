// The cost of a guard per request: canActivate, with a new context for each request as in Nest.
import { fileURLToPath } from 'node:url';
import { ForbiddenException, HttpException } from '@nestjs/common';
import { HttpAdapterHost, NestFactory } from '@nestjs/core';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import 'reflect-metadata';
import { measure, ratio } from './lib/measure.mjs';
import { moduleOf } from './lib/nest.mjs';
import { chart, ns, publish, times, timings, verdicts } from './lib/report.mjs';
import { addresses } from './memory.mjs';

const HOUR = 3_600_000;
const CLIENTS = 5000;
const LIMITS = [
  { name: 'burst', capacity: 100_000, refill: 1 },
  { name: 'hourly', capacity: 500_000, refill: 600, unit: 'hours' },
  { name: 'daily', capacity: 1_000_000, refill: 900, unit: 'days' },
];
const REFUSING = [{ name: 'burst', capacity: 1, refill: 1, unit: 'days' }];

class Controller {
  handle() {}
}

/** Mocks of the response methods that guards call; like the real ones, they lowercase header names. */
class ExpressLike {
  headers = {};
  text = '';
  set(name, value) {
    return this.setHeader(name, String(value));
  }
  header(name, value) {
    return this.set(name, value);
  }
  setHeader(name, value) {
    this.headers[name.toLowerCase()] = value;
    return this;
  }
  status(code) {
    this.statusCode = code;
    return this;
  }
  json(body) {
    this.text = JSON.stringify(body);
    return this;
  }
}

class FastifyLike {
  headers = {};
  text = '';
  header(name, value) {
    this.headers[name.toLowerCase()] = value;
    return this;
  }
  status(code) {
    this.statusCode = code;
    return this;
  }
  send(body) {
    this.text = JSON.stringify(body);
    return this;
  }
}

const platforms = {
  express: { adapter: () => new ExpressAdapter(), response: () => new ExpressLike(), body: 'json' },
  fastify: { adapter: () => new FastifyAdapter(), response: () => new FastifyLike(), body: 'send' },
};

/** A minimal guard for exactly this workload: a plan per handler, GCRA in a Map, two headers. */
class HandWrittenGuard {
  plans = new WeakMap();
  arrivals = new Map();

  constructor(adapterHost, limits) {
    this.adapterHost = adapterHost;
    const compiled = limits.map(({ name, capacity, refill, unit }) => {
      const interval = { hours: HOUR, days: 24 * HOUR }[unit] ?? 1000;
      return { name, interval: interval / refill, burst: (interval / refill) * capacity };
    });
    const policy = limits.map(({ name, capacity }) => `"${name}";q=${capacity}`).join(', ');
    this.plans.set(Controller.prototype.handle, { limits: compiled, policy });
  }

  canActivate(context) {
    const plan = this.plans.get(context.getHandler());
    if (!plan) return true;
    const key = context.getArgByIndex(0).ip;
    const response = context.getArgByIndex(1);
    const now = Date.now();
    let known = this.arrivals.get(key);
    if (!known) {
      known = plan.limits.map(() => 0);
      this.arrivals.set(key, known);
    }
    let allowed = true;
    let wait = 0;
    for (let i = 0; i < plan.limits.length; i++) {
      const { interval, burst } = plan.limits[i];
      const over = Math.max(known[i], now) + interval - now - burst;
      if (over > 0) {
        allowed = false;
        wait = Math.max(wait, over);
      }
    }
    let header = '';
    for (let i = 0; i < plan.limits.length; i++) {
      const { name, interval, burst } = plan.limits[i];
      if (allowed) known[i] = Math.max(known[i], now) + interval;
      const left = Math.floor((burst - Math.max(known[i] - now, 0)) / interval);
      header += `${i > 0 ? ', ' : ''}"${name}";r=${left};t=${Math.ceil(interval / 1000)}`;
    }
    const adapter = this.adapterHost.httpAdapter;
    adapter.setHeader(response, 'RateLimit-Policy', plan.policy);
    adapter.setHeader(response, 'RateLimit', header);
    if (allowed) return true;
    adapter.setHeader(response, 'Retry-After', String(Math.ceil(wait / 1000)));
    throw new HttpException('Too Many Requests', 429);
  }
}

const makers = {
  'nest-rate-limit': async (platform, limits, module, toInput = (options) => options) => {
    const { RateLimit, RateLimitGuard, RateLimitModule } = await import('./build/index.js');
    const options = toInput(limits.length > 1 ? { name: 'api', limits } : { ...limits[0], name: 'api' });
    const handler = Object.getOwnPropertyDescriptor(Controller.prototype, 'handle');
    RateLimit(options)(Controller.prototype, 'handle', handler);
    const app = await createApp(platform, { imports: [RateLimitModule.forRoot(module)] });
    return app.get(RateLimitGuard, { strict: false });
  },
  'nest-rate-limit, no headers': (platform, limits) => makers['nest-rate-limit'](platform, limits, { headers: false }),
  'nest-rate-limit, resolved': (platform, limits) =>
    makers['nest-rate-limit'](platform, limits, {}, ({ name, capacity, refill }) => () => ({ name, capacity, refill })),
  'nest-rate-limit, windows': async (platform, limits) => {
    const windows = limits.map(({ name, capacity, unit }) => ({ name, maxRequest: capacity, unit: unit ?? 'minutes' }));
    return makers['nest-rate-limit'](platform, windows);
  },
  'hand-written': async (platform, limits) => {
    const app = await createApp(platform, {});
    return new HandWrittenGuard(app.get(HttpAdapterHost), limits);
  },
  hitlimit: async (platform, [{ capacity }]) => {
    const { HitLimitGuard, HitLimitModule } = await import('@joint-ops/hitlimit/nest');
    const app = await createApp(platform, { imports: [HitLimitModule.register({ limit: capacity, window: '1h' })] });
    return app.get(HitLimitGuard, { strict: false });
  },
  '@nestjs/throttler': async (platform, limits) => {
    const { ThrottlerGuard, ThrottlerModule } = await import('@nestjs/throttler');
    // Its store scans all live hits: half a second keeps them few.
    const ttl = limits === REFUSING ? HOUR : 500;
    const throttlers = limits.map(({ name, capacity }) => ({ name, limit: capacity, ttl }));
    const app = await createApp(platform, {
      imports: [ThrottlerModule.forRoot(throttlers)],
      providers: [ThrottlerGuard],
    });
    return app.get(ThrottlerGuard);
  },
  'no guard': async () => ({ canActivate: () => true }),
};

async function createApp(platform, parts) {
  const app = await NestFactory.create(moduleOf(parts), platforms[platform].adapter(), { logger: false });
  await app.init();
  return app;
}

function requests() {
  return addresses(CLIENTS).map((ip) => ({ ip, headers: {}, socket: {} }));
}

function contextOf(request, response) {
  const context = new ExecutionContextHost([request, response, undefined], Controller, Controller.prototype.handle);
  context.setType('http');
  return context;
}

async function allowed(platform, name, limits) {
  const guard = await makers[name](platform, limits);
  const all = requests();
  const response = platforms[platform].response();
  let i = 0;
  const next = () => {
    if (++i === CLIENTS) i = 0;
    return guard.canActivate(contextOf(all[i], response));
  };
  const first = next();
  if ((await first) !== true) throw new Error(`${name} rejected the first request`);
  if (first instanceof Promise) {
    return async (count) => {
      for (let n = 0; n < count; n++) await next();
    };
  }
  return (count) => {
    for (let n = 0; n < count; n++) next();
  };
}

/** Measures a rejection, including its status and body in the response. */
async function rejected(platform, name) {
  const guard = await makers[name](platform, REFUSING);
  const all = requests();
  const response = platforms[platform].response();
  const { body } = platforms[platform];
  let i = 0;
  const next = () => {
    if (++i === CLIENTS) i = 0;
    return guard.canActivate(contextOf(all[i], response));
  };
  const answer = (error) => {
    response.status(error.getStatus());
    response[body](error.getResponse());
  };
  for (let n = 0; n < CLIENTS; n++) await next();
  response.headers = {};
  if (name === '@nestjs/throttler') {
    return async (count) => {
      for (let n = 0; n < count; n++) {
        try {
          if (!(await next())) throw new ForbiddenException();
          throw new Error(`${name} did not reject`);
        } catch (error) {
          answer(error);
        }
      }
    };
  }
  return (count) => {
    for (let n = 0; n < count; n++) {
      try {
        if (!next()) throw new ForbiddenException();
        throw new Error(`${name} did not reject`);
      } catch (error) {
        answer(error);
      }
    }
  };
}

const of = (names, make) => Object.fromEntries(names.map((name) => [name, make(name)]));
const OURS = 'nest-rate-limit';
const onFastify = [
  OURS,
  'nest-rate-limit, no headers',
  'nest-rate-limit, resolved',
  'nest-rate-limit, windows',
  'hand-written',
  '@nestjs/throttler',
  'no guard',
];
const onExpress = [...onFastify.slice(0, -1), 'hitlimit', 'no guard'];
const several = [OURS, 'nest-rate-limit, windows', 'hand-written', '@nestjs/throttler'];

export const candidates = {
  'one limit, Express': of(onExpress, (name) => () => allowed('express', name, LIMITS.slice(0, 1))),
  'one limit, Fastify': of(onFastify, (name) => () => allowed('fastify', name, LIMITS.slice(0, 1))),
  'three limits, Fastify': {
    ...of(several, (name) => () => allowed('fastify', name, LIMITS)),
    'nest-rate-limit, one limit': () => allowed('fastify', OURS, LIMITS.slice(0, 1)),
    '@nestjs/throttler, one limit': () => allowed('fastify', '@nestjs/throttler', LIMITS.slice(0, 1)),
  },
  'rejected, Express': of(
    [OURS, 'hand-written', 'hitlimit', '@nestjs/throttler'],
    (name) => () => rejected('express', name),
  ),
  'rejected, Fastify': of([OURS, 'hand-written', '@nestjs/throttler'], (name) => () => rejected('fastify', name)),
};

export async function run() {
  const results = {};
  for (const work of Object.keys(candidates)) {
    results[work] = await measure(fileURLToPath(import.meta.url), work, Object.keys(candidates[work]));
  }
  const aims = [];
  for (const platform of ['Express', 'Fastify']) {
    const one = results[`one limit, ${platform}`];
    const throttler = ratio(one['@nestjs/throttler'], one[OURS]);
    const written = ratio(one[OURS], one['hand-written']);
    aims.push([`${platform}: times faster than ThrottlerGuard`, '≥ 15×', times(throttler), throttler >= 15]);
    aims.push([`${platform}: time against a hand-written guard`, '≤ 1.5×', times(written), written <= 1.5]);
  }
  const resolved = results['one limit, Fastify'];
  const cost = ratio(resolved[`${OURS}, resolved`], resolved[OURS]);
  aims.push(['new options from a resolver per request against constant options', '≤ 1.3×', times(cost), cost <= 1.3]);
  const peer = ratio(results['one limit, Express'][OURS], results['one limit, Express'].hitlimit);
  aims.push(["Express: time against hitlimit's guard", '≤ 1×', times(peer), peer <= 1]);
  const three = results['three limits, Fastify'];
  const grown = ratio(three[OURS], three['nest-rate-limit, one limit']);
  aims.push(['three limits against one', '≤ 1.8×', times(grown), grown <= 1.8]);
  const windows = ratio(three[`${OURS}, windows`], three[OURS]);
  aims.push(['three windows against three buckets', '≤ 1.6×', times(windows), windows <= 1.6]);
  const refusal = ratio(results['rejected, Express'][OURS], results['rejected, Express'].hitlimit);
  aims.push(["Express: a rejection against hitlimit's", '≤ 1×', times(refusal), refusal <= 1]);
  const alone = results['one limit, Fastify'];
  const headers = alone[OURS].median - alone[`${OURS}, no headers`].median;
  const parts = Object.entries(results).map(([work, result]) => {
    const title = work.charAt(0).toUpperCase() + work.slice(1);
    const bars = chart(
      Object.entries(result).map(([name, { median }]) => [name, median]),
      ns,
    );
    return `### ${title}\n\n${timings(result, OURS, ratio)}\n\n${bars}`;
  });
  publish(
    'guard',
    `## What a guard adds to a request

\`canActivate\` of each guard from a real application, with a new \`ExecutionContextHost\` per call, ${CLIENTS.toLocaleString('en-US')} clients in turn, constant options (\`resolved\`: a resolver returns a new object with them for each request) and each library's own headers, which pass through Nest's real adapter into a response that only stores them. \`no guard\` is the loop itself, which is part of all other figures. A hand-written guard has a plan per handler, a GCRA in a Map and two headers. hitlimit has one limit only, and its guard fails on Fastify. A rejection is measured until its status and body are in the response.

${parts.join('\n\n')}

Of the ${ns(alone[OURS].median)} on Fastify the two headers take ${ns(headers)}; [the decision](#one-decision-in-memory) is the largest part of the rest.

### Aims

${verdicts(aims)}`,
  );
}

// Runs a Nest application in its own process. Arguments: platform, guard. Reports its port, then CPU time on request.

import { Controller, Get } from '@nestjs/common';
import { APP_GUARD, NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import 'reflect-metadata';
import { serve } from './lib/measure.mjs';
import { moduleOf } from './lib/nest.mjs';

const [, , platform, guard] = process.argv;
const url = process.env.BENCH_REDIS_URL;
const LIMIT = 1000;
const SECONDS = 10;

class HelloController {
  hello() {
    return 'Hello World';
  }
}

function decorate(...decorators) {
  for (const one of decorators) {
    one(HelloController.prototype, 'hello', Object.getOwnPropertyDescriptor(HelloController.prototype, 'hello'));
  }
}

Controller()(HelloController);
decorate(Get());
const client = (request) => request.headers['x-client'];

async function ours(options) {
  const { RateLimit, RateLimitModule } = await import('./build/index.js');
  decorate(RateLimit({ name: 'api', capacity: LIMIT, refill: LIMIT, duration: SECONDS }));
  const key = (context) => client(context.getArgByIndex(0));
  // One second, because a benchmark machine is busier than a server.
  return { imports: [RateLimitModule.forRoot({ key, ...options, failure: { mode: 'closed', timeout: '1s' } })] };
}

async function throttler(storage) {
  const { ThrottlerGuard, ThrottlerModule } = await import('@nestjs/throttler');
  const throttlers = [{ limit: LIMIT, ttl: SECONDS * 1000 }];
  return {
    imports: [ThrottlerModule.forRoot({ throttlers, getTracker: client, storage })],
    providers: [{ provide: APP_GUARD, useClass: ThrottlerGuard }],
  };
}

function writeHeaders(context) {
  const response = context.getArgByIndex(1);
  response.header('ratelimit-policy', `"api";q=${LIMIT};w=${SECONDS}`);
  response.header('ratelimit', `"api";r=${LIMIT - 1};t=1`);
  return true;
}

function guarded(canActivate) {
  return { providers: [{ provide: APP_GUARD, useValue: { canActivate } }] };
}

const guards = {
  none: () => ({}),
  'a guard that does nothing': () => guarded(() => true),
  // The minimum work of a limiter without counting: the headers, and one Redis command.
  'two headers and no limit': () => guarded(writeHeaders),
  'two headers and a GET from Redis': async () => {
    const { Redis } = await import('ioredis');
    const redis = new Redis(url, { enableAutoPipelining: true });
    return guarded(async (context) => {
      await redis.get(client(context.getArgByIndex(0)));
      return writeHeaders(context);
    });
  },
  'nest-rate-limit': () => ours({}),
  'nest-rate-limit, no headers': () => ours({ headers: false }),
  'nest-rate-limit, Redis': () => ours({ store: { redis: url } }),
  '@nestjs/throttler': () => throttler(),
  '@nestjs/throttler, Redis': async () => {
    const { ThrottlerStorageRedisService } = await import('@nest-lab/throttler-storage-redis');
    return throttler(new ThrottlerStorageRedisService(url));
  },
  hitlimit: async () => {
    const { HitLimitGuard, HitLimitModule } = await import('@joint-ops/hitlimit/nest');
    // It ignores the `key` option here: all requests count as one client.
    const options = { limit: 1e9, window: SECONDS * 1000, key: client };
    return {
      imports: [HitLimitModule.register(options)],
      providers: [{ provide: APP_GUARD, useExisting: HitLimitGuard }],
    };
  },
  'express-rate-limit': async () => ({
    use: async (app) => {
      const { rateLimit } = await import('express-rate-limit');
      app.use(
        rateLimit({
          limit: LIMIT,
          windowMs: SECONDS * 1000,
          keyGenerator: client,
          standardHeaders: 'draft-8',
          legacyHeaders: false,
        }),
      );
    },
  }),
  '@fastify/rate-limit': async () => ({
    use: async (app) => {
      const { default: plugin } = await import('@fastify/rate-limit');
      await app.register(plugin, { max: LIMIT, timeWindow: SECONDS * 1000, keyGenerator: client });
    },
  }),
};

const { use, ...parts } = await guards[guard]();
const adapter = platform === 'fastify' ? new FastifyAdapter() : new ExpressAdapter();
const app = await NestFactory.create(moduleOf({ ...parts, controllers: [HelloController] }), adapter, {
  logger: false,
});
await use?.(app);
await app.listen(0, '127.0.0.1');
const { port } = app.getHttpServer().address();
serve(() => process.cpuUsage(), { port });

// A minimal application. The rows with ioredis compile and run it.
import 'reflect-metadata';
import { deepStrictEqual, ok } from 'node:assert';
import { Controller, Get, Module } from '@nestjs/common';
import { type AbstractHttpAdapter, NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Redis } from 'ioredis';
import { RateLimit, RateLimitModule, type RateLimitModuleOptions, TimeUnit } from 'nest-rate-limit';

@Controller()
class AppController {
  @RateLimit({ duration: 10, unit: TimeUnit.MINUTES, maxRequest: 2 })
  @Get('limited')
  limited() {
    return 'Hello Limited World';
  }
}

/** Checks that the first two requests are admitted, and that the third is rejected. */
async function checkThree(name: string, adapter: AbstractHttpAdapter, options: RateLimitModuleOptions) {
  @Module({ imports: [RateLimitModule.forRoot(options)], controllers: [AppController] })
  class AppModule {}

  const app = await NestFactory.create(AppModule, adapter, { logger: ['error', 'warn'] });
  await app.listen(0, '127.0.0.1');
  const url = `${await app.getUrl()}/limited`;
  try {
    for (const left of [1, 0]) {
      const response = await fetch(url);
      deepStrictEqual([response.status, await response.text()], [200, 'Hello Limited World'], name);
      deepStrictEqual(response.headers.get('ratelimit-policy'), '"AppController.limited";q=2;w=600', name);
      ok(response.headers.get('ratelimit')?.startsWith(`"AppController.limited";r=${left};t=`), name);
      deepStrictEqual(response.headers.get('retry-after'), null, name);
    }
    const rejection = await fetch(url);
    const body = await rejection.json();
    if (options.problemDetails) {
      ok(rejection.headers.get('content-type')?.startsWith('application/problem+json'), name);
      deepStrictEqual([rejection.status, body.status, body.title], [429, 429, 'Quota Exceeded'], name);
    } else {
      deepStrictEqual([rejection.status, body], [429, { statusCode: 429, message: 'Too Many Requests' }], name);
    }
    const seconds = Number(rejection.headers.get('retry-after'));
    ok(seconds > 500 && seconds <= 600, `${name}: Retry-After is ${seconds}`);
    deepStrictEqual(rejection.headers.get('ratelimit'), `"AppController.limited";r=0;t=${seconds}`, name);
  } finally {
    await app.close();
  }
}

async function main(url: string) {
  const client = new Redis(url);
  const run = `smoke-${process.pid}-`;
  // With mode `closed`, a Redis failure is a 503, which cannot be mistaken for a reached limit.
  const failure = { mode: 'closed', timeout: '10s' } as const;
  for (const [name, Adapter] of Object.entries({ express: ExpressAdapter, fastify: FastifyAdapter })) {
    await checkThree(`${name}, memory`, new Adapter(), {});
    await checkThree(`${name}, problem details`, new Adapter(), { problemDetails: true });
    await checkThree(`${name}, url`, new Adapter(), { failure, store: { redis: url, prefix: `${run}${name}-url:` } });
    await checkThree(`${name}, client`, new Adapter(), {
      failure,
      store: { redis: client, prefix: `${run}${name}-own:` },
    });
  }
  deepStrictEqual((await client.keys(`${run}*`)).length, 4, 'buckets in Redis');
  await client.quit();
}

main(process.argv[2]).then(() => console.log('done'));

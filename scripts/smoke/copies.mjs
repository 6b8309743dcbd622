// Runs an application whose library has a copy of the package of its own, and one that loads both of its builds.
import 'reflect-metadata';
import { deepStrictEqual, notStrictEqual, rejects } from 'node:assert';
import { createRequire } from 'node:module';
import { Controller, Get, Inject, Module, UseGuards } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import * as own from 'nest-rate-limit';

const other = createRequire(new URL('library/package.json', import.meta.url))('nest-rate-limit');
const require = createRequire(import.meta.url);
const commonjs = require('../node_modules/nest-rate-limit/dist/cjs/index.js');
const ONE = { maxRequest: 1, unit: 'hours' };

/** Returns a controller whose routes the three copies limit. */
function controller() {
  class Routes {
    constructor(buckets) {
      this.bucket = buckets.bucket(ONE, 'all');
    }

    decorated() {}

    built() {}

    feature() {}

    async injected() {
      await this.bucket.consume(1, { maxWait: 1 });
    }
  }
  Inject(other.BucketService)(Routes, undefined, 0);
  decorate(Routes, 'decorated', other.RateLimit(ONE), Get('decorated'));
  decorate(Routes, 'built', commonjs.RateLimit(ONE), Get('built'));
  decorate(Routes, 'feature', own.RateLimit('feature'), Get('feature'));
  decorate(Routes, 'injected', Get('injected'));
  Controller()(Routes);
  return Routes;
}

function decorate({ prototype }, property, ...decorators) {
  const descriptor = Object.getOwnPropertyDescriptor(prototype, property);
  for (const decorator of decorators) decorator(prototype, property, descriptor);
}

async function start(Routes, store) {
  class AppModule {}
  const imports = [own.RateLimitModule.forRoot({ store }), other.RateLimitModule.forFeature({ feature: ONE })];
  Module({ imports, controllers: [Routes] })(AppModule);
  const app = await NestFactory.create(AppModule, { logger: false, abortOnError: false });
  await app.listen(0, '127.0.0.1');
  return app;
}

notStrictEqual(own.RateLimitGuard, other.RateLimitGuard);
const app = await start(controller(), new other.MemoryStore());
for (const path of ['decorated', 'built', 'feature', 'injected']) {
  const url = `${await app.getUrl()}/${path}`;
  const [first, second] = [await fetch(url), await fetch(url)];
  deepStrictEqual([first.status, second.status], [200, 429], path);
  deepStrictEqual(second.headers.get('retry-after'), '3600', path);
}
await app.close();

const Guarded = controller();
UseGuards(other.RateLimitGuard)(Guarded);
await rejects(start(Guarded, new own.MemoryStore()), /copies of nest-rate-limit are loaded \(versions .*npm dedupe/);
console.log('done');

// Installs the packed library into two fresh apps, as a user would: a CommonJS app on Nest 11 and an ESM app on
// Nest 12, without ioredis, which is optional. Each limits real requests and runs the shipped suite for stores.
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { withPackage } from './pack.mjs';

const run = promisify(execFile);

const apps = [
  {
    name: 'CommonJS on Nest 11',
    type: 'commonjs',
    nest: '11.2.10',
    imports: `
      require('reflect-metadata');
      const { Controller, Get, Module } = require('@nestjs/common');
      const { NestFactory } = require('@nestjs/core');
      const library = require('nest-rate-limit');
      const testing = require('nest-rate-limit/testing');`,
  },
  {
    name: 'ESM on Nest 12',
    type: 'module',
    nest: '12.5.1',
    imports: `
      import 'reflect-metadata';
      import { Controller, Get, Module } from '@nestjs/common';
      import { NestFactory } from '@nestjs/core';
      import * as library from 'nest-rate-limit';
      import * as testing from 'nest-rate-limit/testing';
      import { createRequire } from 'node:module';
      const require = createRequire(import.meta.url);`,
  },
];

// Decorators are applied by hand: so nothing has to be compiled.
const main = `
const assert = require('node:assert');
const { RateLimit, RateLimitModule } = library;

class AppController {
  limited() { return 'Hello Limited World'; }
}
const method = Object.getOwnPropertyDescriptor(AppController.prototype, 'limited');
Get('limited')(AppController.prototype, 'limited', method);
RateLimit({ duration: 10, unit: 'seconds', maxRequest: 2 })(AppController.prototype, 'limited', method);
Controller()(AppController);
class AppModule {}
Module({ imports: [RateLimitModule.forRoot()], controllers: [AppController] })(AppModule);

async function sameThroughBothDoors(name, one) {
  for (const other of [require(name), await import(name)]) {
    for (const key of Object.keys(one)) assert(other[key] === one[key], name + ' has two ' + key);
  }
}

async function storeContract() {
  const tests = [];
  globalThis.describe = (name, body) => body();
  globalThis.it = (name, body) => tests.push(body);
  testing.describeStoreContract('MemoryStore', (clock) => new library.MemoryStore({ clock }));
  assert(tests.length > 0, 'the store contract is empty');
  for (const test of tests) await test();
}

async function smoke() {
  await sameThroughBothDoors('nest-rate-limit', library);
  await sameThroughBothDoors('nest-rate-limit/testing', testing);
  await storeContract();

  const app = await NestFactory.create(AppModule, { logger: ['error'] });
  await app.listen(0, '127.0.0.1');
  const url = 'http://127.0.0.1:' + app.getHttpServer().address().port + '/limited';
  const responses = [await fetch(url), await fetch(url), await fetch(url)];
  await app.close();
  assert.deepStrictEqual(responses.map(({ status }) => status), [200, 200, 429]);
  assert.strictEqual(await responses[0].text(), 'Hello Limited World');
  assert.strictEqual(responses[2].headers.get('retry-after'), '10');
}
smoke().catch(error => {
  console.error(error);
  process.exit(1);
});
`;

async function tryApp({ name, type, nest, imports }, { dir, tarball }) {
  const cwd = join(dir, type);
  mkdirSync(cwd);
  writeFileSync(join(cwd, 'package.json'), JSON.stringify({ private: true, type }));
  writeFileSync(join(cwd, 'main.js'), imports + main);
  const packages = ['common', 'core', 'platform-express'].map((part) => `@nestjs/${part}@${nest}`);
  const options = ['--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error'];
  await run('npm', ['install', ...options, tarball, ...packages, 'reflect-metadata@0.2.2', 'rxjs@7.8.2'], {
    cwd,
  });
  await run(process.execPath, ['main.js'], { cwd, timeout: 30_000 });
  console.log(`${name}: one set of classes, the store contract kept, and 200, 200, 429 with Retry-After: 10`);
}

await withPackage(async (scratch) => {
  console.log(`packed: ${(scratch.size / 1024).toFixed(1)} kB`);
  for (const [i, result] of (await Promise.allSettled(apps.map((app) => tryApp(app, scratch)))).entries()) {
    if (result.status === 'fulfilled') continue;
    const { stdout = '', stderr = result.reason } = result.reason;
    console.error(`${apps[i].name} failed:\n${stdout}${stderr}`);
    process.exitCode = 1;
  }
});

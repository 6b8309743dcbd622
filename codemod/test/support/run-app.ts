import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { INestApplication, Type } from '@nestjs/common';
import * as common from '@nestjs/common';
import * as core from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { Test } from '@nestjs/testing';
import * as rateLimit from 'nest-rate-limit';
import request from 'supertest';
import { ts } from 'ts-morph';

const NEST: Readonly<Record<string, object>> = { '@nestjs/common': common, '@nestjs/core': core };

const MODULES: Readonly<Record<string, object>> = {
  ...NEST,
  '@nestjs/throttler': loadThrottler('index'),
  'nest-rate-limit': rateLimit,
};

/** Evaluates a file of @nestjs/throttler: it is CommonJS and requires Nest, which is ESM and so cannot be required by Jest. */
function loadThrottler(file: string, loaded = new Map<string, object>()): object {
  const known = loaded.get(file);
  if (known) return known;
  const module = { exports: {} };
  loaded.set(file, module.exports);
  const load = (name: string) =>
    name.startsWith('./') ? loadThrottler(name.slice(2), loaded) : (NEST[name] ?? createRequire(import.meta.url)(name));
  const folder = join('node_modules', '@nestjs', 'throttler', 'dist');
  new Function('require', 'exports', 'module', readFileSync(join(folder, `${file}.js`), 'utf8'))(
    load,
    module.exports,
    module,
  );
  return module.exports;
}

/** Starts the `AppModule` that the source of one file exports. */
async function start(source: string): Promise<INestApplication> {
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: {
      module: ts.ModuleKind.CommonJS,
      target: ts.ScriptTarget.ES2022,
      experimentalDecorators: true,
      emitDecoratorMetadata: true,
      useDefineForClassFields: false,
    },
  });
  const exports: { AppModule?: Type } = {};
  const load = (name: string) => ({ ...MODULES[name], __esModule: true });
  new Function('require', 'exports', outputText)(load, exports);
  if (!exports.AppModule) throw new Error('The source exports no AppModule');
  const module = await Test.createTestingModule({ imports: [exports.AppModule] }).compile();
  const app = module.createNestApplication(new ExpressAdapter(), { logger: false });
  return app.init();
}

/** A request: its path, and the user that it names. */
export type Call = readonly [path: string, user?: string];

/** Sends requests to an application, one after the other, and returns their statuses. */
export async function statusesOf(source: string, calls: readonly Call[]): Promise<number[]> {
  const app = await start(source);
  try {
    const statuses: number[] = [];
    for (const [path, user] of calls) {
      const sent = request(app.getHttpServer()).get(path);
      statuses.push((await (user ? sent.set('x-user', user) : sent)).status);
    }
    return statuses;
  } finally {
    await app.close();
  }
}

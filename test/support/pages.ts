import * as diagnosticsChannel from 'node:diagnostics_channel';
import { type INestApplication, Module, type Type, UnauthorizedException } from '@nestjs/common';
import * as core from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { MemoryStore, RateLimitModule, RateLimitStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import * as readersOwn from './readme-names.js';
import { redisUrl } from './redis.js';
import { type Exports, exportsOf, importOf, runModule, type SnippetModule, snippetsOf, toModules } from './snippets.js';

/*
 * Runs the TypeScript of a page as its reader would.
 */

const ofNest = `Body CanActivate Controller ExecutionContext ForbiddenException Get HttpException Injectable Module Param
  Post UseGuards`;

/** Where each name comes from that a snippet does not import. */
const names = new Map([
  ...ofNest.split(/\s+/).map((name): [string, string] => [name, '@nestjs/common']),
  ...exportsOf('src/index.ts').map((name): [string, string] => [name, 'nest-rate-limit']),
  ...[...Object.keys(readersOwn), 'Document'].map((name): [string, string] => [
    name,
    importOf('test/support/readme-names.ts'),
  ]),
]);

/** What is to be run of a page. */
export function modulesOf(page: string): SnippetModule[] {
  const snippets = snippetsOf(page).filter(({ language }) => language === 'ts');
  return toModules(snippets, names);
}

/**
 * Runs a snippet, and once each of those before it that it needs. Its app listens on a free port, and Redis is that of
 * the tests.
 */
export async function run(module: SnippetModule, done = new Map<string, Exports>()): Promise<Exports> {
  for (const other of module.needs) if (!done.has(importOf(other.file))) await run(other, done);
  const load = async (name: string): Promise<object> => {
    if (name.startsWith('./')) return done.get(name) ?? readersOwn;
    return stubs.get(name) ?? (await import(name));
  };
  const source = module.source
    .replaceAll('redis://localhost:6379', redisUrl())
    .replaceAll('.listen(3000)', ".listen(0, '127.0.0.1')");
  const exports: Exports = {};
  done.set(importOf(module.file), exports); // before it runs: what it opens must be closed if it fails, too
  await runModule(module, load, exports, source);
  return exports;
}

/** `NestFactory` as it is, but quiet. */
export const NestFactory = {
  create: (type: Type): Promise<INestApplication> => core.NestFactory.create(type, { logger: false }),
};

const stops: (() => void)[] = [];

/** Channels belong to the process, not to a test: whoever listens stops when the test is over. */
function subscribe(...listening: Parameters<typeof diagnosticsChannel.subscribe>): void {
  diagnosticsChannel.subscribe(...listening);
  stops.push(() => diagnosticsChannel.unsubscribe(...listening));
}

export function unsubscribeAll(): void {
  for (const stop of stops.splice(0)) stop();
}

const stubs = new Map<string, object>([
  ['@nestjs/core', { ...core, NestFactory }],
  ['node:diagnostics_channel', { ...diagnosticsChannel, subscribe }],
]);

const isModule = (type: Type) => Reflect.hasMetadata('imports', type);
const isController = (type: Type) => Reflect.hasMetadata('path', type);
const isProvider = (type: Type) => Reflect.hasMetadata('__injectable__', type);
const classesOf = (exports: Exports) => Object.values(exports).filter((value) => typeof value === 'function') as Type[];

/** Whether a snippet declares what an app is made of. */
export function isOfApp(exports: Exports): boolean {
  return classesOf(exports).some((type) => isModule(type) || isController(type) || isProvider(type));
}

/** Starts an app of what a snippet declares, in memory and by a fake clock. */
export async function startApp(
  exports: Exports,
  providers: Type[] = [],
): Promise<{ app: INestApplication; clock: FakeClock }> {
  const classes = classesOf(exports);
  @Module({
    imports: [RateLimitModule.forRoot()],
    controllers: classes.filter(isController),
    providers: [...classes.filter(isProvider), ...providers],
  })
  class AppModule {}
  const clock = new FakeClock();
  const module = await Test.createTestingModule({ imports: [classes.findLast(isModule) ?? AppModule] })
    .overrideProvider(RateLimitStore)
    .useValue(new MemoryStore({ clock }))
    .compile();
  const app = module.createNestApplication({ logger: false });
  await app.listen(0, '127.0.0.1');
  return { app, clock };
}

/** A handler with the decorators of another, that always fails. */
export function failing(handler: () => void): () => void {
  const failed = () => {
    throw new UnauthorizedException();
  };
  for (const key of Reflect.getMetadataKeys(handler)) {
    Reflect.defineMetadata(key, Reflect.getMetadata(key, handler), failed);
  }
  return Object.defineProperty(failed, 'name', { value: handler.name });
}

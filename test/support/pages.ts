import * as diagnosticsChannel from 'node:diagnostics_channel';
import { type INestApplication, Module, type Type, UnauthorizedException } from '@nestjs/common';
import * as core from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { MemoryStore, RateLimitModule, RateLimitStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import * as readmeNames from './readme-names.js';
import { redisUrl } from './redis.js';
import { type Exports, exportsOf, importOf, runModule, type SnippetModule, snippetsOf, toModules } from './snippets.js';

/*
 * Runs the TypeScript snippets of a documentation page.
 */

const NEST_NAMES = `Body CanActivate Controller ExecutionContext ForbiddenException Get HttpException Injectable Module
  Param Post UseGuards`;

/** Maps each name that snippets may use without an import to the module that exports it. */
const names = new Map([
  ...NEST_NAMES.split(/\s+/).map((name): [string, string] => [name, '@nestjs/common']),
  ...exportsOf('src/index.ts').map((name): [string, string] => [name, 'nest-rate-limit']),
  ...[...Object.keys(readmeNames), 'Document'].map((name): [string, string] => [
    name,
    importOf('test/support/readme-names.ts'),
  ]),
]);

/** Returns the TypeScript snippets of a page as modules. */
export function modulesOf(page: string): SnippetModule[] {
  const snippets = snippetsOf(page).filter(({ language }) => language === 'ts');
  return toModules(snippets, names);
}

/**
 * Runs a snippet after the snippets it needs, each of them once. Its application listens on a free port and uses the
 * Redis of the tests.
 */
export async function run(module: SnippetModule, done = new Map<string, Exports>()): Promise<Exports> {
  for (const other of module.needs) if (!done.has(importOf(other.file))) await run(other, done);
  const load = async (name: string): Promise<object> => {
    if (name.startsWith('./')) return done.get(name) ?? readmeNames;
    return stubs.get(name) ?? (await import(name));
  };
  const source = module.source
    .replaceAll('redis://localhost:6379', redisUrl())
    .replaceAll('.listen(3000)', ".listen(0, '127.0.0.1')");
  const exports: Exports = {};
  done.set(importOf(module.file), exports); // before it runs: if it fails, what it opened must still be closed
  await runModule(module, load, exports, source);
  return exports;
}

/** Runs the snippet of a page that declares `name`, and returns what it declares. */
export async function declaredIn<T>(page: string, name: string): Promise<T> {
  const module = modulesOf(page).find(({ declared }) => declared.includes(name));
  if (!module) throw new Error(`No snippet of ${page} declares ${name}`);
  return (await run(module))[name] as T;
}

/** Returns the snippet of a section at this index, by default the last one. */
export function snippetIn(page: string, section: string, index = -1): SnippetModule {
  const found = modulesOf(page)
    .filter((module) => module.section === section)
    .at(index);
  if (!found) throw new Error(`${page} has no section ${section} with such a snippet`);
  return found;
}

/** `NestFactory` without log output. */
export const NestFactory = {
  create: (type: Type): Promise<INestApplication> => core.NestFactory.create(type, { logger: false }),
};

const unsubscribers: (() => void)[] = [];

/** Subscribes until `unsubscribeAll()`: channels are global to the process and would outlive the test. */
function subscribe(...args: Parameters<typeof diagnosticsChannel.subscribe>): void {
  diagnosticsChannel.subscribe(...args);
  unsubscribers.push(() => diagnosticsChannel.unsubscribe(...args));
}

export function unsubscribeAll(): void {
  for (const unsubscribe of unsubscribers.splice(0)) unsubscribe();
}

const stubs = new Map<string, object>([
  ['@nestjs/core', { ...core, NestFactory }],
  ['node:diagnostics_channel', { ...diagnosticsChannel, subscribe }],
]);

const isModule = (type: Type) => Reflect.hasMetadata('imports', type);
const isController = (type: Type) => Reflect.hasMetadata('path', type);
const isProvider = (type: Type) => Reflect.hasMetadata('__injectable__', type);
const classesOf = (exports: Exports) => Object.values(exports).filter((value) => typeof value === 'function') as Type[];

/** Whether a snippet declares a module, a controller or a provider. */
export function isOfApp(exports: Exports): boolean {
  return classesOf(exports).some((type) => isModule(type) || isController(type) || isProvider(type));
}

/** Starts an application of the classes that a snippet declares, with a MemoryStore and a fake clock. */
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

/** Returns a handler that has the decorators of `handler`, but always throws a 401. */
export function failing(handler: () => void): () => void {
  const failed = () => {
    throw new UnauthorizedException();
  };
  for (const key of Reflect.getMetadataKeys(handler)) {
    Reflect.defineMetadata(key, Reflect.getMetadata(key, handler), failed);
  }
  return Object.defineProperty(failed, 'name', { value: handler.name });
}

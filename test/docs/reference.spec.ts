import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import type { DynamicModule } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { Bucket, BucketService, MemoryStore, RateLimitModule, type RateLimitOptions } from 'nest-rate-limit';
import * as opentelemetry from 'nest-rate-limit/opentelemetry';
import ts from 'typescript';
import { redisUrl } from '../support/redis.js';

/** The options of a page or section: those of an error about an unknown option, with the interfaces that declare them. */
const references = [
  {
    page: 'docs/reference/decorator.md',
    forRoot: () => RateLimitModule.forRoot({ policies: { one: { unknown: 1 } as RateLimitOptions } }),
    sources: ['src/core/limit.ts', 'src/core/policy.ts', 'src/policy/rate-limit.options.ts'],
    interfaces: ['LimitNumbers', 'LimitOptions', 'RateLimitOptions'],
  },
  {
    page: 'docs/reference/module.md',
    forRoot: () => RateLimitModule.forRoot({ unknown: 1 } as object),
    sources: ['src/module/module-options.ts'],
    interfaces: ['RateLimitModuleOptions'],
  },
  {
    page: 'docs/reference/stores.md',
    section: 'Redis',
    forRoot: () => RateLimitModule.forRoot({ store: { redis: redisUrl(), ...{ unknown: 1 } } }),
    sources: ['src/stores/redis/redis-options.ts'],
    interfaces: ['RedisStoreOptions', 'RedisConnectOptions'],
  },
  {
    page: 'docs/reference/stores.md',
    section: 'Memory',
    sources: ['src/stores/memory/memory.store.ts'],
    interfaces: ['MemoryStoreOptions'],
  },
];

describe.each(references)('Options in $page $section', ({ page, section, forRoot, sources, interfaces }) => {
  const options = optionsIn(page, section);
  const declared = new Map(sources.flatMap((source) => propertiesIn(source, interfaces)));

  it('are all options that exist', async () => {
    const known = forRoot ? await knownOptions(forRoot) : [...declared.keys()];
    expect([...options.keys()].sort()).toEqual(known.sort());
  });

  it('have their declared types, a default and the version that added them', () => {
    for (const [name, text] of options) {
      const [, type, since] = /^Type: `(.*?)` · Default: \S.* · Since: (\d+\.\d+\.\d+)$/m.exec(text) ?? [];
      expect([name, type, since]).toEqual([name, declared.get(name) ?? type, expect.any(String)]);
    }
  });
});

it('lists all methods of a bucket and all fields of a decision', async () => {
  const page = 'docs/guides/manual-checks.md';
  const inner = ['constructor', 'run', 'sleep', 'takes', 'tokenTakes', 'slotTakes'];
  const own = Object.getOwnPropertyNames(Bucket.prototype).filter((name) => !inner.includes(name));
  expect(firstColumn(page, 'Methods of a bucket').map((method) => method.replace(/\(.*/, ''))).toEqual(
    expect.arrayContaining(own),
  );
  const bucket = new BucketService(new MemoryStore()).bucket({ capacity: 1, refill: 1 }, 'key');
  const decision = await bucket.decide();
  for (const field of firstColumn(page, '`Decision`')) expect(decision).toHaveProperty(field);
});

it('lists all channels and instruments', async () => {
  const page = 'docs/guides/observability.md';
  const { DECISION, WAIT, STORE, FAILURE, HEALTH, EFFECT, SLOT, SLOT_LOST, SLOT_HELD_TOO_LONG } = await import(
    '../../src/observe/channels.js'
  );
  const names = [DECISION, WAIT, STORE, FAILURE, HEALTH, EFFECT, SLOT, SLOT_LOST, SLOT_HELD_TOO_LONG];
  expect(firstColumn(page, 'On channels')).toEqual(names);
  const made: string[] = [];
  const make = (name: string) => made.push(name);
  const meter = { createCounter: make, createUpDownCounter: make, createHistogram: make };
  opentelemetry.recordRateLimits(meter as unknown as Parameters<typeof opentelemetry.recordRateLimits>[0])();
  expect(firstColumn(page, 'As metrics')).toEqual(made);
});

/** Returns the sections of a page that are titled with an option, by its name. */
function optionsIn(page: string, section = ''): Map<string, string> {
  const text = readFileSync(page, 'utf8').split(/^## /m);
  const parts = text.filter((part) => part.startsWith(section)).flatMap((part) => part.split(/^### /m));
  return new Map(
    parts.flatMap((part) => [[/^`(\w+)`\n/.exec(part)?.[1] ?? '', part] as const]).filter(([name]) => name),
  );
}

/** Returns the names and types of the properties of interfaces in a source file. */
function propertiesIn(source: string, interfaces: readonly string[]): [string, string][] {
  const file = ts.createSourceFile(source, readFileSync(source, 'utf8'), ts.ScriptTarget.Latest, true);
  return file.statements.flatMap((statement) => {
    if (!ts.isInterfaceDeclaration(statement) || !interfaces.includes(statement.name.text)) return [];
    return statement.members.flatMap((member) =>
      ts.isPropertySignature(member) && member.type
        ? [[member.name.getText(), member.type.getText().replace(/\s+/g, ' ')] as [string, string]]
        : [],
    );
  });
}

/** Returns the option names listed in the error for an unknown option. */
async function knownOptions(forRoot: () => DynamicModule): Promise<string[]> {
  const error = await Test.createTestingModule({ imports: [forRoot()] })
    .compile()
    .then(
      () => undefined,
      (reason: Error) => reason,
    );
  return /known options are (.*)$/.exec(error?.message ?? '')?.[1].split(', ') ?? [];
}

/** Returns the first column of the first table of a section, without the backticks. */
function firstColumn(page: string, section: string): string[] {
  const part = readFileSync(page, 'utf8')
    .split(/^#+ /m)
    .find((text) => text.startsWith(`${section}\n`));
  const rows = [...(part ?? '').matchAll(/^\| (.*?) +\|/gm)].slice(2);
  if (rows.length === 0) throw new Error(`${page} has no table in ${section}`);
  return rows.map(([, cell]) => /^`(.*)`$/.exec(cell)?.[1] ?? cell);
}

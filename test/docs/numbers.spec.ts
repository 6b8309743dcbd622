import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { Test } from '@nestjs/testing';
import { BucketService, type LimitOptions, MemoryStore, RateLimitModule, type RateLimitOptions } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { checkedPages } from '../support/doc-pages.js';

/*
 * Some pages have tables of what a client gets under given limits. These tests simulate the client for each cell.
 */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

type Measure = (make: () => Client) => Promise<string>;

const within =
  (ms: number): Measure =>
  async (make) =>
    count(await make().takeAll(ms));

const measures: Record<string, Measure> = {
  'At once': within(1),
  'In a second': within(SECOND),
  'In a minute': within(MINUTE),
  'In an hour': within(HOUR),
  'In a day': within(24 * HOUR),
  'Longest wait': async (make) => {
    const client = make();
    await client.takeAll(2 * MINUTE);
    return time(client.longestWait);
  },
  'Full again after': async (make) => {
    const client = make();
    await client.takeAll(1);
    return time(await client.resetAfter());
  },
};

/** Returns the measure of a column: one of the above, or the count between two instants, as in `10–20 s`. */
function measureOf(column: string): Measure | undefined {
  const [, from, to] = /^(\d+)–(\d+) s$/.exec(column) ?? [];
  if (to === undefined) return measures[column];
  return async (make) => {
    const before = from === '0' ? 0 : await make().takeAll(Number(from) * SECOND);
    return count((await make().takeAll(Number(to) * SECOND)) - before);
  };
}

/** Starts a millisecond before a new minute, where a fixed window admits most, and takes as many tokens as it can. */
class Client {
  longestWait = 0;
  private readonly clock = new FakeClock();
  private readonly bucket;

  constructor(limit: LimitOptions) {
    this.bucket = new BucketService(new MemoryStore({ clock: this.clock })).bucket(limit, 'client');
    this.clock.set(this.clock.now() + MINUTE - 1);
  }

  /** Takes all tokens within `ms`. It need not poll every ms: tokens are only lost once the bucket is full. */
  async takeAll(ms: number): Promise<number> {
    const last = this.clock.now() + ms - 1;
    for (let taken = 0; ; ) {
      taken += await this.bucket.consumeUpTo(1e9);
      if (this.clock.now() >= last) return taken;
      const { retryAfter, resetAfter } = await this.bucket.estimate();
      this.longestWait = Math.max(this.longestWait, retryAfter);
      this.clock.set(
        Math.min(last, this.clock.now() + Math.max(retryAfter, Math.floor(Math.min(resetAfter / 2, 100)))),
      );
    }
  }

  async resetAfter(): Promise<number> {
    return (await this.bucket.estimate()).resetAfter;
  }
}

const count = (n: number) => n.toLocaleString('en');

function time(ms: number): string {
  if (ms < SECOND) return `${ms} ms`;
  return ms < 2 * MINUTE ? `${ms / SECOND} s` : `${ms / MINUTE} min`;
}

describe.each(['docs/concepts.md', 'docs/guides/choosing-limits.md'])('Limit table in %s', (page) => {
  const lines = readFileSync(page, 'utf8').split('\n');
  const rows = lines.flatMap((line, i) => {
    const heading = lines.slice(0, i).findLast((_, at) => /^\| -+/.test(lines[at + 1]));
    const [headings, cells] = [heading ?? '', line].map((text) => text.split('|').map((cell) => cell.trim()));
    const row: Record<string, string> = Object.fromEntries(headings.map((name, column) => [name, cells[column]]));
    return /^`\{.*\}`$/.test(row.Numbers ?? '') ? [row] : [];
  });

  it('has rows', () => expect(rows.length).toBeGreaterThan(4));

  it.each(rows)('states what a client gets under $Numbers', async ({ Numbers, ...documented }) => {
    const limit = new Function(`return ${Numbers.replaceAll('`', '')}`)() as LimitOptions;
    const found: Record<string, string> = {};
    for (const column of Object.keys(documented)) {
      found[column] = (await measureOf(column)?.(() => new Client(limit))) ?? documented[column];
    }
    expect(found).toEqual(documented);
  });
});

it.each(checkedPages)('accepts all limit options given in %s', async (page) => {
  const inline = readFileSync(page, 'utf8').matchAll(/`(\{ [^`]*\b(?:capacity|maxRequest): [^`]*\})`/g);
  const options = [...inline].flatMap(([, code]) => optionsOf(code) ?? []);
  const imports = [RateLimitModule.forRoot({ policies: Object.fromEntries(Object.entries(options)) })];
  await expect(Test.createTestingModule({ imports }).compile()).resolves.toBeDefined();
});

/** Evaluates options; returns `undefined` if they contain placeholders such as `n`. */
function optionsOf(code: string): RateLimitOptions | undefined {
  try {
    return new Function(`return ${code}`)();
  } catch (error) {
    if (error instanceof ReferenceError) return undefined;
    throw error;
  }
}

import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication, Logger } from '@nestjs/common';
import {
  type Bucket,
  BucketService,
  type Decision,
  RateLimit,
  RateLimitModule,
  RateLimitStore,
  RateLimitStoreError,
} from 'nest-rate-limit';
import request from 'supertest';
import { log } from '../../support/buckets.js';
import { createApp } from '../../support/create-app.js';
import { connection, FAULTS, type Fault, type Rig } from '../../support/faults.js';
import { measured } from '../../support/lag.js';
import { CLIENTS, type TestedClient } from '../../support/redis-clients.js';
import { until } from '../../support/requests.js';

const MODES = ['local', 'open', 'closed'] as const;
type Mode = (typeof MODES)[number];

/** The default `failure.timeout`, and the tolerated delay beyond it, ms. */
const DEADLINE = 50;
const GRACE = 50;
const RECOVERY = 3000;
/** A bucket without refill, so that taken tokens stay taken for the whole test. */
const POOL = { name: 'pool', capacity: 1000, refill: 0 };
const DATA = { kept: 'unchanged', lost: 'empty', none: 'empty' };
/** Faults that a client does not report at once, although others do. */
const WAITS: Readonly<Record<string, readonly string[]>> = {
  'node-redis': ['accepts connections but never replies', 'restarted, loading its data'],
  'Valkey GLIDE': [
    'never started',
    'accepts connections but never replies',
    'does not speak the Redis protocol',
    'killed, restarted empty',
    'restarted, loading its data',
    'password changed',
  ],
};
const DOCUMENT = new URL('../../../docs/guides/redis-failures.md', import.meta.url);

@Controller()
class Shop {
  @RateLimit({ name: 'shop', duration: 1, unit: 'minutes', maxRequest: 1000 })
  @Get('shop')
  shop(): string {
    return 'open';
  }
}

/** A typical application in one failure mode. */
class Subject {
  /** Tokens that the store reported as taken. */
  taken = 0;
  /** Durations of the calls, ms. */
  times: number[] = [];
  /** Durations of the calls during which the process was busy, without the time that it was busy, ms. */
  readonly busyTimes: number[] = [];

  private constructor(
    readonly mode: Mode,
    readonly app: INestApplication,
    readonly bucket: Bucket,
    readonly store: RateLimitStore,
    readonly closeClient: () => unknown,
  ) {}

  static async open(mode: Mode, client: TestedClient, url: string): Promise<Subject> {
    const { redis, close } = await client.open(url);
    const app = await createApp('express', {
      imports: [
        RateLimitModule.forRoot({ store: { redis, prefix: `${mode}:` }, failure: { mode }, policies: { pool: POOL } }),
      ],
      controllers: [Shop],
    });
    return new Subject(mode, app, app.get(BucketService).bucket('pool', 'key'), app.get(RateLimitStore), close);
  }

  async take(times = this.times): Promise<Decision | RateLimitStoreError> {
    const { value, ms } = await measured(() => this.bucket.decide().catch((error: RateLimitStoreError) => error));
    times.push(ms);
    if (!(value instanceof Error) && value.source === 'store' && value.allowed) this.taken++;
    return value;
  }

  /** Takes a token, and returns whether the store decided. */
  async takesFromStore(): Promise<boolean> {
    const answer = await this.take();
    return !(answer instanceof Error) && answer.source === 'store';
  }

  /** Returns whether the store answers, without taking a token. */
  async reachesStore(): Promise<boolean> {
    const answer = await this.bucket.estimate().catch(() => undefined);
    return answer?.source === 'store';
  }

  get(path: string): request.Test {
    return request(this.app.getHttpServer()).get(path);
  }

  async close(): Promise<void> {
    await this.app.close();
    await this.closeClient();
  }
}

/** Takes a token of each subject while the process is busy for twice the deadline. */
function takeBusy(subjects: readonly Subject[]): Promise<(Decision | RateLimitStoreError)[]> {
  const answers = subjects.map((subject) => subject.take(subject.busyTimes));
  for (const end = performance.now() + 2 * DEADLINE; performance.now() < end; );
  return Promise.all(answers);
}

/** Expects the outcome of a failure mode. */
function expectFailure(mode: Mode, answer: Decision | RateLimitStoreError): void {
  if (mode === 'closed') {
    expect(answer).toBeInstanceOf(RateLimitStoreError);
  } else {
    const source = mode === 'local' ? 'fallback' : 'open';
    expect(answer).toMatchObject({ allowed: true, source });
  }
}

/** Durations in ms, by fault and client. */
const measurements = new Map<string, { slowest: number; recovery: number }>();
const CASES = FAULTS.flatMap((fault) =>
  CLIENTS.map((client) => ({ fault, client, name: `${fault.name}, ${client.name}` })),
);

describe.each(CASES)('Redis: $name', ({ fault, client, name }) => {
  let rig: Rig;
  let subjects: Subject[] = [];
  let keys: string[];
  let corruptValues: unknown;

  beforeAll(async () => {
    rig = await fault.start();
    subjects = await Promise.all(MODES.map((mode) => Subject.open(mode, client, rig.url)));
    Logger.overrideLogger(log);
    log.lines.length = 0;
    keys = [];
    if (fault.data !== 'none') {
      for (const subject of subjects) {
        // On a busy machine the first call may miss its deadline.
        await until(() => subject.reachesStore(), 4000, 10);
        for (let i = 0; i < 3; i++) expect(await subject.take()).toMatchObject({ allowed: true, source: 'store' });
        await subject.get('/shop').expect(200);
        subject.times = [];
      }
      const client = connection(rig.url);
      keys = await client.keys('*');
      client.disconnect();
      expect(keys).toHaveLength(2 * MODES.length);
    }
    await rig.break(keys);
    if (fault.scope === 'bucket') corruptValues = await values();
  });

  /** Returns the raw values of all keys, of any type. */
  async function values(): Promise<unknown> {
    const client = connection(rig.url);
    const dumped = await Promise.all(keys.map((key) => client.dump(key)));
    client.disconnect();
    return dumped;
  }

  afterAll(async () => {
    await Promise.all(subjects.map((subject) => subject.close()));
    await rig.close();
  });

  it('applies the failure mode within the deadline', async () => {
    await Promise.all(
      subjects.map(async (subject) => {
        const { mode } = subject;
        const start = performance.now();
        expectFailure(mode, await subject.take());
        // With the lag of this process, during which the deadline passes, too.
        const elapsed = performance.now() - start;
        for (let i = 0; i < 6; i++) expectFailure(mode, await subject.take());
        for (const answer of await Promise.all(Array.from({ length: 20 }, () => subject.take()))) {
          expectFailure(mode, answer);
        }
        const { value: response, ms } = await measured(async () => subject.get('/shop'));
        expect(response.status).toBe(mode === 'closed' ? 503 : 200);
        if (mode === 'closed') expect(response.headers['retry-after']).toBe('1');
        else expect(response.headers).not.toHaveProperty('retry-after');
        expect(ms).toBeLessThan(DEADLINE + GRACE);
        expect(Math.max(...subject.times)).toBeLessThan(DEADLINE + GRACE);
        const [first] = subject.times;
        if (fault.fails === 'at the deadline') expect(elapsed).toBeGreaterThan(DEADLINE - 5);
        else if (!WAITS[client.name]?.includes(fault.name)) expect(first).toBeLessThan(DEADLINE);
      }),
    );
  });

  it('applies the failure mode in a busy process, too', async () => {
    for (let i = 0; i < 3; i++) {
      for (const [k, answer] of (await takeBusy(subjects)).entries()) expectFailure(MODES[k], answer);
    }
    for (const { busyTimes } of subjects) expect(Math.max(...busyTimes)).toBeLessThan(DEADLINE + GRACE);
  });

  it('reflects the fault in health(), and logs it once', () => {
    for (const { store } of subjects) {
      const { status, error, since } = store.health();
      if (fault.scope === 'bucket') {
        expect(status).toBe('up');
        continue;
      }
      expect(status).toBe('down');
      expect(error).toBeInstanceOf(RateLimitStoreError);
      expect(Date.now() - (since ?? 0)).toBeLessThan(5000);
    }
    expect(log.lines).toHaveLength(MODES.length);
    for (const line of log.lines) {
      expect(line).toMatch(
        fault.scope === 'store'
          ? /^error: Rate limit store unavailable; using failure mode "\w+": Redis|^error: .* No answer within 50 ms/
          : /^warn: Unreadable bucket \w+:\{.*: (WRONGTYPE|.*not a bucket|.*attempt to index)/,
      );
    }
  });

  it('recovers without a restart and without late takes', async () => {
    log.lines.length = 0;
    const slowest = Math.max(...subjects.flatMap(({ times }) => times));
    if (fault.scope === 'bucket') expect(await values()).toEqual(corruptValues);
    await rig.repair();
    const recoveries = await Promise.all(
      subjects.map((subject) => measured(() => until(() => subject.takesFromStore(), 15_000, 10))),
    );
    const recovery = Math.max(...recoveries.map(({ ms }) => ms));
    expect(recovery).toBeLessThan(RECOVERY);
    measurements.set(name, { slowest, recovery });
    for (const { store } of subjects) expect(store.health()).toEqual({ status: 'up' });
    expect(log.lines).toEqual(fault.scope === 'store' ? MODES.map(() => 'log: Rate limit store available again') : []);
    for (const subject of subjects) {
      // The store contains exactly what it reported: no call that timed out took a token, then or later.
      const kept = fault.data === 'kept' && fault.scope === 'store' ? subject.taken : 1;
      // Polls, because on a busy machine a call may miss its deadline. A late take would never disappear.
      const available = () => subject.bucket.available().catch(() => undefined);
      await until(async () => (await available()) === POOL.capacity - kept);
      await until(async () => (await subject.get('/shop')).status === 200);
    }
  });

  it('decides in Redis after the recovery, although the process is busy', async () => {
    const control = connection(rig.url);
    await control.ping();
    for (let rounds = 0; rounds < 6; ) {
      log.lines.length = 0;
      const reply = measured(() => control.ping());
      const answers = await takeBusy(subjects);
      if ((await reply).ms > DEADLINE / 2) {
        // On a busy machine Redis itself may be late, which shows nothing.
        for (const subject of subjects) await until(() => subject.takesFromStore());
        continue;
      }
      for (const answer of answers) expect(answer).toMatchObject({ source: 'store' });
      for (const { store } of subjects) expect(store.health()).toEqual({ status: 'up' });
      expect(log.lines).toEqual([]);
      rounds++;
    }
    control.disconnect();
  });
});

describe('docs/guides/redis-failures.md', () => {
  it('contains the table of these measurements', () => {
    const cellOf = (fault: Fault, { name }: TestedClient) => {
      const { slowest, recovery } = measurements.get(`${fault.name}, ${name}`) ?? { slowest: NaN, recovery: NaN };
      return `${Math.ceil(slowest)} ms, ${Math.ceil(recovery / 100) / 10} s`;
    };
    const rows = [
      ['Fault', ...CLIENTS.map(({ name }) => name), 'Data afterwards'],
      ['---', ...CLIENTS.map(() => '---'), '---'],
      ...FAULTS.map((fault) => [fault.name, ...CLIENTS.map((client) => cellOf(fault, client)), DATA[fault.data]]),
    ];
    const widths = rows[0].map((_, i) => Math.max(...rows.map((cells) => cells[i].length)));
    const padded = rows.map((cells) => cells.map((cell, i) => cell.padEnd(widths[i], cell === '---' ? '-' : ' ')));
    const table = padded.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
    const text = readFileSync(DOCUMENT, 'utf8');
    if (process.env.UPDATE_DOCS) {
      writeFileSync(DOCUMENT, text.replace(/\| Fault [\s\S]*?\n(?!\|)/, `${table}\n`));
      return;
    }
    // The times in the page are from another run. The tests above check their bounds.
    const untimed = (lines: string) =>
      lines
        .replace(/ +/g, ' ')
        .replace(/-{3,}/g, '---')
        .replace(/[\d.]+ m?s(?=,| \|)/g, '…');
    expect(untimed(text)).toContain(untimed(table));
  });
});

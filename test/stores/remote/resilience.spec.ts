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
import { until } from '../../support/requests.js';

const MODES = ['local', 'open', 'closed'] as const;
type Mode = (typeof MODES)[number];

/** The default of `failure.timeout`, and how late an answer may be on top of it. */
const DEADLINE = 50;
const GRACE = 50;
const RECOVERY = 3000;
/** A pool: what was taken from it stays taken, however long a test lasts. */
const POOL = { name: 'pool', capacity: 1000, refill: 0 };
const ANSWER = { local: 'decided here (`fallback`)', open: 'passes (`open`)', closed: '503, `RateLimitStoreError`' };
const DOCUMENT = new URL('../../../docs/redis-failures.md', import.meta.url);

@Controller()
class Shop {
  @RateLimit({ name: 'shop', duration: 1, unit: 'minutes', maxRequest: 1000 })
  @Get('shop')
  shop(): string {
    return 'open';
  }
}

/** How late this process's own timers are: the machine's part in a late answer. */
async function measured<T>(ask: () => Promise<T>): Promise<{ value: T; ms: number }> {
  let lag = 0;
  let last = performance.now();
  const ticker = setInterval(() => {
    const now = performance.now();
    if (now - last > 10) lag += now - last - 5;
    last = now;
  }, 5);
  const start = performance.now();
  try {
    const value = await ask();
    return { value, ms: Math.max(0, performance.now() - start - lag) };
  } finally {
    clearInterval(ticker);
  }
}

/** An application as users write it, in one failure mode. */
class Subject {
  /** Tokens that the store gave and told of. */
  taken = 0;
  slowest = 0;
  /** Of the first answer after the fault. */
  first = 0;

  private constructor(
    readonly mode: Mode,
    readonly app: INestApplication,
    readonly bucket: Bucket,
    readonly store: RateLimitStore,
  ) {}

  static async open(mode: Mode, redis: string): Promise<Subject> {
    const app = await createApp('express', {
      imports: [
        RateLimitModule.forRoot({ store: { redis, prefix: `${mode}:` }, failure: { mode }, policies: { pool: POOL } }),
      ],
      controllers: [Shop],
    });
    return new Subject(mode, app, app.get(BucketService).bucket('pool', 'key'), app.get(RateLimitStore));
  }

  async take(): Promise<Decision | RateLimitStoreError> {
    const { value, ms } = await measured(() => this.bucket.decide().catch((error: RateLimitStoreError) => error));
    this.slowest = Math.max(this.slowest, ms);
    this.first ||= ms;
    if (!(value instanceof Error) && value.source === 'store' && value.allowed) this.taken++;
    return value;
  }

  async answersAgain(): Promise<boolean> {
    const answer = await this.take();
    return !(answer instanceof Error) && answer.source === 'store';
  }

  /** Whether the store answers; takes nothing. */
  async isAnswered(): Promise<boolean> {
    const answer = await this.bucket.estimate().catch(() => undefined);
    return answer?.source === 'store';
  }

  get(path: string): request.Test {
    return request(this.app.getHttpServer()).get(path);
  }
}

/** What the store without an answer must come to. */
function expectFailure(mode: Mode, answer: Decision | RateLimitStoreError): void {
  if (mode === 'closed') {
    expect(answer).toBeInstanceOf(RateLimitStoreError);
  } else {
    const source = mode === 'local' ? 'fallback' : 'open';
    expect(answer).toMatchObject({ allowed: true, source });
  }
}

const found = new Map<Fault, { ms: number[]; recovery: number }>();

describe.each(FAULTS)('Redis: $name', (fault) => {
  let rig: Rig;
  let subjects: Subject[] = [];
  let keys: string[];
  let foreign: unknown;

  beforeAll(async () => {
    log.lines.length = 0;
    rig = await fault.start();
    subjects = await Promise.all(MODES.map((mode) => Subject.open(mode, rig.url)));
    Logger.overrideLogger(log);
    keys = [];
    if (fault.data !== 'none') {
      for (const subject of subjects) {
        // On a busy machine the first answer may miss the deadline.
        await until(() => subject.isAnswered(), 4000, 10);
        for (let i = 0; i < 3; i++) expect(await subject.take()).toMatchObject({ allowed: true, source: 'store' });
        await subject.get('/shop').expect(200);
        subject.first = 0;
      }
      const client = connection(rig.url);
      keys = await client.keys('*');
      client.disconnect();
      expect(keys).toHaveLength(2 * MODES.length);
    }
    await rig.break(keys);
    if (fault.scope === 'bucket') foreign = await values();
  });

  /** What stands in the keys, whatever it is. */
  async function values(): Promise<unknown> {
    const client = connection(rig.url);
    const dumped = await Promise.all(keys.map((key) => client.dump(key)));
    client.disconnect();
    return dumped;
  }

  afterAll(async () => {
    await Promise.all(subjects.map(({ app }) => app.close()));
    await rig.close();
  });

  it('is answered by the failure mode, in time', async () => {
    await Promise.all(
      subjects.map(async (subject) => {
        const { mode } = subject;
        for (let i = 0; i < 7; i++) expectFailure(mode, await subject.take());
        for (const answer of await Promise.all(Array.from({ length: 20 }, () => subject.take()))) {
          expectFailure(mode, answer);
        }
        const { value: response, ms } = await measured(async () => subject.get('/shop'));
        expect(response.status).toBe(mode === 'closed' ? 503 : 200);
        if (mode === 'closed') expect(response.headers['retry-after']).toBe('1');
        else expect(response.headers).not.toHaveProperty('retry-after');
        expect(ms).toBeLessThan(DEADLINE + GRACE);
        expect(subject.slowest).toBeLessThan(DEADLINE + GRACE);
        if (fault.answers === 'by the deadline') expect(subject.first).toBeGreaterThan(DEADLINE - 5);
        else expect(subject.first).toBeLessThan(DEADLINE);
      }),
    );
  });

  it('shows in the health of the store, and once in the log', () => {
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
          ? /^error: The store does not answer, the failure mode decides: Redis|^error: .* No answer within 50 ms/
          : /^warn: The bucket cannot be read: \w+:1:\{.*: (WRONGTYPE|.*not a bucket|.*attempt to index)/,
      );
    }
  });

  it('is over soon after, without a restart and without a ghost', async () => {
    log.lines.length = 0;
    const slowest = subjects.map((subject) => subject.slowest);
    if (fault.scope === 'bucket') expect(await values()).toEqual(foreign);
    await rig.mend();
    const recovery = Math.max(
      ...(await Promise.all(subjects.map((subject) => until(() => subject.answersAgain(), RECOVERY, 10)))),
    );
    found.set(fault, { ms: slowest, recovery });
    for (const subject of subjects) {
      expect(subject.store.health()).toEqual({ status: 'up' });
      // What the store told of is what it holds: nothing that timed out was taken, neither then nor since.
      const kept = fault.data === 'kept' && fault.scope === 'store' ? subject.taken : 1;
      // A late answer on a busy machine is that of the failure mode; what a ghost took would never come back.
      await until(async () => (await subject.bucket.available()) === POOL.capacity - kept);
      await subject.get('/shop').expect(200);
    }
    expect(log.lines).toEqual(fault.scope === 'store' ? MODES.map(() => 'log: The store answers again') : []);
  });
});

describe('the document', () => {
  it('has the table of what was found here', () => {
    const rows = FAULTS.map((fault) => {
      const { ms, recovery } = found.get(fault) ?? { ms: [], recovery: Number.NaN };
      const after = { kept: 'as before', lost: 'empty', none: 'empty' }[fault.data];
      const cells = MODES.map((mode, i) => `${ANSWER[mode]}, ${Math.ceil(ms[i])} ms`);
      return [fault.name, ...cells, after, `${Math.ceil(recovery / 100) / 10} s`];
    });
    const table = [
      ['What is wrong with Redis', ...MODES.map((mode) => `\`${mode}\``), 'In Redis afterwards', 'Answers again after'],
      ['---', '---', '---', '---', '---', '---'],
      ...rows,
    ]
      .map((cells) => `| ${cells.join(' | ')} |`)
      .join('\n');
    const text = readFileSync(DOCUMENT, 'utf8');
    if (process.env.UPDATE_DOCS) {
      writeFileSync(DOCUMENT, text.replace(/\| What is wrong[\s\S]*?\n(?!\|)/, `${table}\n`));
      return;
    }
    // The times are those of the run that made the table; that they keep to their bounds is checked above.
    const untimed = (lines: string) =>
      lines
        .replace(/ +/g, ' ')
        .replace(/-{3,}/g, '---')
        .replace(/[\d.]+ m?s(?= \|)/g, '…');
    expect(untimed(text)).toContain(untimed(table));
  });
});

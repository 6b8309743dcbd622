import { readFileSync } from 'node:fs';
import { STATUS_CODES } from 'node:http';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { MemoryStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import type { Response } from 'supertest';
import { measured } from '../test/support/lag.js';
import { until } from '../test/support/requests.js';
import { redisStore, SampleApp } from '../test/support/sample-app.js';
import { type Answers, type Step, toMarkdown } from './example.js';
import { examples } from './examples.js';

const readme = readFileSync(new URL('README.md', import.meta.url), 'utf8');

describe('README of the sample app', () => {
  it('contains each example, and no other curl commands', () => {
    for (const example of examples) expect(readme).toContain(toMarkdown(example));
    const shown = examples.reduce((rest, example) => rest.replace(toMarkdown(example), ''), readme);
    expect(shown).not.toMatch(/```sh[^`]*curl/);
  });
});

const stores = [
  { store: 'memory', open: async (clock: FakeClock) => new MemoryStore({ clock }) },
  { store: 'redis', open: redisStore },
];

describe.each(stores)('sample app with buckets in $store', ({ open }) => {
  let clock: FakeClock;
  let app: SampleApp;
  beforeEach(async () => {
    clock = new FakeClock();
    app = await SampleApp.start(await open(clock));
  });
  afterEach(() => app.close());

  for (const { title, description, steps } of examples) {
    it(`${title}. ${description}`, async () => {
      for (const step of steps) {
        const expected = linesOf(step.answers);
        const shown = 'lines' in step ? await app.chat(upTo(step.lines)) : await run(step, expected);
        expect(shown).toEqual(expected);
      }
    });
  }

  /** Runs a step, and returns the lines that a shell would show. */
  async function run(step: Step, expected: string[]): Promise<string[]> {
    const { times = 1, together, head, after } = step;
    let answers: string[] = [];
    const one = async () => {
      const response = await app.send(step);
      answers.push(...(head ? headOf(response) : [`${response.text} [${response.status}]`]));
    };
    if (after !== undefined) {
      await clock.advance(after * 1000);
      // The app acts on its own, at some time. Decisions made without Redis, on a busy machine, add to its waiting.
      await until(async () => {
        answers = [];
        await clock.advance(after * 10);
        await one();
        return answers[0] === expected[0];
      });
      return answers;
    }
    if (!together) {
      for (let i = 0; i < times; i++) await one();
      return answers;
    }
    const all = Array.from({ length: times }, one);
    while (answers.length < times) {
      await clock.advance(100);
      // A slot that is released in Redis is granted by a message, which takes real time.
      await sleep(1);
    }
    await Promise.all(all);
    return answers;
  }

  it('answers queued requests one by one, and rejects a wait of more than 5 seconds immediately', async () => {
    const answers: number[] = [];
    const all = Array.from({ length: 7 }, async () => answers.push((await app.send({ path: '/queue' })).status));
    const answered = async (count: number) => {
      while (answers.length < count) await nextTurn();
    };
    await answered(2);
    expect(answers.toSorted()).toEqual([200, 429]);
    for (let second = 1; second <= 5; second++) {
      await clock.advance(999);
      expect(answers).toHaveLength(1 + second);
      await clock.advance(1);
      await answered(2 + second);
    }
    await Promise.all(all);
    expect(answers.filter((status) => status === 200)).toHaveLength(6);
  });

  it('runs two exports at once, and rejects those that would wait for more than 10 seconds', async () => {
    const answers: number[] = [];
    const all = Array.from({ length: 20 }, async () => answers.push((await app.send({ path: '/exports' })).status));
    await sleep(50);
    for (let halfSecond = 1; answers.length < 20; halfSecond++) {
      await clock.advance(500);
      await sleep(20);
      // None has ended earlier, and no more than two at once.
      const ended = answers.filter((status) => status === 200).length;
      expect(ended).toBeLessThanOrEqual(2 * Math.floor(halfSecond / 4));
    }
    await Promise.all(all);
    expect(new Set(answers)).toEqual(new Set([200, 429]));
    expect(answers.filter((status) => status === 200).length).toBeGreaterThanOrEqual(6);
  });

  it('refills 10 messages per minute, for all notations of a number', async () => {
    const send = async (phone: string) => (await app.send({ path: '/sms', form: `phone=${phone}` })).status;
    for (let i = 0; i < 20; i++) expect(await send('030/901-820')).toBe(201);
    expect(await send('(030) 901 820')).toBe(429);
    await clock.advance(5_999);
    expect(await send('030901820')).toBe(429);
    await clock.advance(1);
    expect(await send('030901820')).toBe(201);
    expect(await send('030901820')).toBe(429);
  });

  it.each(['', 'phone=', 'phone=12345', 'phone=1&phone=2', 'phone[a]=1', 'phone=1234567890123456'])(
    'answers 400 to the form %j, and takes no tokens',
    async (form) => {
      const response = await app.send({ method: 'POST', path: '/sms', form });
      expect(response.status).toBe(400);
      expect(response.body.message).toMatch(/^phone must be /);
      expect(response.headers).not.toHaveProperty('ratelimit');
    },
  );

  it('refills /api at one token per second', async () => {
    const upload = { method: 'POST', path: '/api/upload' } as const;
    expect((await app.send(upload)).status).toBe(201);
    const rejected = await app.send(upload);
    expect([rejected.status, rejected.headers['retry-after']]).toEqual([429, '1']);
    await clock.advance(1000);
    expect((await app.send(upload)).status).toBe(201);
  });

  it('counts only failed logins, and blocks even the correct password for a minute', async () => {
    const login = async (password: string) =>
      (await app.send({ path: '/login', form: `user=ada&password=${password}` })).status;
    for (let i = 0; i < 20; i++) expect(await login('lovelace')).toBe(200);
    for (let i = 0; i < 4; i++) expect(await login('wrong')).toBe(401);
    expect(await login('lovelace')).toBe(200);
    expect(await login('wrong')).toBe(401);
    expect(await login('lovelace')).toBe(429);
    await clock.advance(59_999);
    expect(await login('lovelace')).toBe(429);
    await clock.advance(1);
    expect(await login('lovelace')).toBe(200);
  });

  it('denies reports until the rows of earlier ones are paid, and charges nothing for failed ones', async () => {
    const report = (rows: string) => app.send({ path: `/reports?rows=${rows}` });
    for (let i = 0; i < 101; i++) expect((await report('many')).status).toBe(400);
    expect((await report('100')).status).toBe(200);
    const rejected = await report('1');
    expect([rejected.status, rejected.headers['retry-after']]).toEqual([429, '1']);
    await clock.advance(1000);
    expect((await report('30')).status).toBe(200);
    const later = await report('1');
    expect([later.status, later.headers['retry-after']]).toEqual([429, '30']);
  });
});

it('queues the second request for one second of real time', async () => {
  const app = await SampleApp.start(new MemoryStore());
  const started = performance.now();
  const { value, ms } = await measured(() => Promise.all([app.send({ path: '/queue' }), app.send({ path: '/queue' })]));
  const passed = performance.now() - started;
  const [first, second] = value;
  await app.close();
  expect([first.status, second.status]).toEqual([200, 200]);
  expect(passed).toBeGreaterThan(990);
  expect(ms).toBeLessThan(5000);
});

/** Returns the status line and the rate limit headers. */
function headOf({ status, headers }: Response): string[] {
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    `ratelimit-policy: ${headers['ratelimit-policy']}`,
    `ratelimit: ${headers.ratelimit}`,
  ];
  return headers['retry-after'] ? [...lines, `retry-after: ${headers['retry-after']}`] : lines;
}

function linesOf(answers: Answers): string[] {
  return answers.flatMap((answer) =>
    typeof answer === 'string' ? [answer] : new Array<string>(answer[0]).fill(answer[1]),
  );
}

function upTo(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${i + 1}`);
}

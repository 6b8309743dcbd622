import { afterEach, describe, expect, it } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import { BucketService } from 'nest-rate-limit';
import type { FakeClock } from 'nest-rate-limit/testing';
import request, { type Response } from 'supertest';
import { run, snippetIn, startApp } from '../support/pages.js';

const PAGE = 'docs/quickstart.md';
const MINUTE = 60_000;

let app: INestApplication;
let clock: FakeClock;
afterEach(() => app.close());

async function start(section: string): Promise<void> {
  ({ app, clock } = await startApp(await run(snippetIn(PAGE, section))));
}

async function statuses(count: number, send: () => Promise<Response>): Promise<number[]> {
  const found: number[] = [];
  for (let i = 0; i < count; i++) found.push((await send()).status);
  return found;
}

const get = async (path: string, headers: Record<string, string> = {}): Promise<Response> =>
  request(app.getHttpServer()).get(path).set(headers);
const post = async (path: string, body: object = {}): Promise<Response> =>
  request(app.getHttpServer()).post(path).send(body);

describe('docs/quickstart.md', () => {
  it('limits each user by plan', async () => {
    await start('Limit each user by plan');
    const reportsOf = (user: string, plan: string) => get('/reports', { 'x-user': user, 'x-plan': plan });
    const [free, pro] = [() => reportsOf('ada', 'free'), () => reportsOf('grace', 'pro')];
    expect(await statuses(11, free)).toEqual([...new Array<number>(10).fill(200), 429]);
    expect(await statuses(101, pro)).toEqual([...new Array<number>(100).fill(200), 429]);
    expect((await reportsOf('alan', 'free')).status).toBe(200);
    await clock.advance(MINUTE);
    expect([(await free()).status, (await pro()).status]).toEqual([200, 200]);
  });

  it('blocks an account for 15 minutes after five wrong passwords', async () => {
    await start('Stop password guessing');
    const login = (user: unknown, password: string) => post('/login', { user, password });
    expect(await statuses(6, () => login('grace', 'correct horse'))).toEqual(new Array<number>(6).fill(201));
    expect(await statuses(6, () => login('ada', 'wrong'))).toEqual([401, 401, 401, 401, 401, 429]);
    expect((await login(' ADA', 'correct horse')).headers['retry-after']).toBe('900');
    expect((await login('grace', 'correct horse')).status).toBe(201);
    await clock.advance(15 * MINUTE);
    expect((await login('ada', 'correct horse')).status).toBe(201);
    expect((await login({}, 'wrong')).status).toBe(400);
  });

  it('charges the actual cost of a request', async () => {
    await start('Charge what a request has cost');
    expect((await post('/completions')).headers.ratelimit).toContain('r=9500');
    const policy = {
      name: 'CompletionsController.complete',
      capacity: 10_000,
      refill: 10_000,
      unit: 'minutes',
    } as const;
    const bucket = app.get(BucketService).bucket(policy, '127.0.0.1');
    while ((await bucket.available()) === 9500) await new Promise(setImmediate);
    expect(await bucket.available()).toBe(10_000 - 1234);
  });
});

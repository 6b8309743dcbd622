import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { BucketService, MemoryStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { until } from '../../test/support/requests.js';
import { SampleApp } from '../../test/support/sample-app.js';
import { OutboxWorker } from './outbox.worker.js';

let app: SampleApp;
let clock: FakeClock;
let worker: OutboxWorker;
beforeEach(async () => {
  clock = new FakeClock();
  app = await SampleApp.start(new MemoryStore({ clock }));
  worker = app.app.get(OutboxWorker);
});
afterEach(() => app.close());

const add = (...mails: string[]) => {
  for (const to of mails) worker.add(to);
};
const bucket = () => app.app.get(BucketService).bucket('outbox', 'smtp.example.com');
/** Waits until `count` mails are queued and the worker sleeps, or until the queue is empty. */
const left = (count: number) => until(() => worker.waiting === count && clock.sleeping === Math.min(count, 1));

it('sends a burst of two mails, then exactly one per second', async () => {
  add('a@example.com', 'b@example.com', 'c@example.com', 'd@example.com');
  await left(2);
  for (const rest of [1, 0]) {
    await clock.advance(999);
    await left(rest + 1);
    await clock.advance(1);
    await left(rest);
  }
});

it('pauses for 3 seconds when the mail server is busy, then retries the same mail', async () => {
  add('busy@example.com', 'a@example.com');
  await left(2);
  expect(await bucket().tryConsume()).toBe(false);
  await clock.advance(2999);
  await left(2);
  await clock.advance(1);
  await left(0);
});

it('continues immediately when a token is refunded', async () => {
  add('a@example.com', 'b@example.com', 'c@example.com');
  await left(1);
  await bucket().put();
  await left(0);
});

it('rejects mails beyond a queue of 20', () => {
  add(...new Array<string>(20).fill('a@example.com'));
  expect(() => worker.add('b@example.com')).toThrow('The outbox is full');
});

it('stops waiting when the app closes, and keeps the queued mail', async () => {
  add('a@example.com', 'b@example.com', 'c@example.com');
  await left(1);
  worker.onModuleDestroy();
  await until(() => clock.sleeping === 0);
  expect(worker.waiting).toBe(1);
});

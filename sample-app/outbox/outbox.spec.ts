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
/** So many are left; unless there are none, the worker sleeps. */
const left = (count: number) => until(() => worker.waiting === count && clock.sleeping === Math.min(count, 1));

it('sends two mails at once, and one more each second, not a millisecond earlier', async () => {
  add('a@example.com', 'b@example.com', 'c@example.com', 'd@example.com');
  await left(2);
  for (const rest of [1, 0]) {
    await clock.advance(999);
    await left(rest + 1);
    await clock.advance(1);
    await left(rest);
  }
});

it('pauses for 3 seconds when the mail server is busy, and then sends the same mail', async () => {
  add('busy@example.com', 'a@example.com');
  await left(2);
  expect(await bucket().tryConsume()).toBe(false);
  await clock.advance(2999);
  await left(2);
  await clock.advance(1);
  await left(0);
});

it('goes on at once when somebody gives a token back', async () => {
  add('a@example.com', 'b@example.com', 'c@example.com');
  await left(1);
  await bucket().put();
  await left(0);
});

it('has a line of 20', () => {
  add(...new Array<string>(20).fill('a@example.com'));
  expect(() => worker.add('b@example.com')).toThrow('The outbox is full');
});

it('leaves its line when the app closes', async () => {
  add('a@example.com', 'b@example.com', 'c@example.com');
  await left(1);
  worker.onModuleDestroy();
  await until(() => clock.sleeping === 0);
  expect(worker.waiting).toBe(1);
});

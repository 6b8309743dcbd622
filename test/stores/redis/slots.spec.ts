import { afterAll, describe, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { RedisStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { parsePolicy } from '../../../src/core/policy.js';
import type { StoreRequest } from '../../../src/core/request.js';
import type { SlotHolder } from '../../../src/core/slot-holder.js';
import { SCRIPT } from '../../../src/stores/redis/lua/script.js';
import { openWithScript, WITHOUT_FAST_PATH } from '../../support/patched-script.js';
import { redisUrl } from '../../support/redis.js';
import { until } from '../../support/requests.js';
import { SlotSubject } from '../../support/slot-subject.js';
import { compactState } from '../../support/stored-state.js';

const client = new Redis(redisUrl());
const subscriber = new Redis(redisUrl());
afterAll(() => Promise.all([client.quit(), subscriber.quit()]));

const stores: RedisStore[] = [];
afterAll(() => {
  for (const store of stores) store.close();
});
let count = 0;
function slots(concurrency: number): SlotSubject {
  return new SlotSubject(
    (clock) => {
      const store = new RedisStore({ client, subscriber, clock, prefix: `slots-${process.pid}-${++count}:` });
      stores.push(store);
      return store;
    },
    { concurrency },
  );
}

describe('slots in Redis', () => {
  it('are published for the process that has waited longest', async () => {
    const subject = slots(2);
    const { messages } = subject;
    const id = 2 ** 47 - 1;
    subject.listen(2, id);
    await until(() => messages.length === 1);
    expect(messages.pop()).toBe(''); // the subscriptions have started
    await subject.take(1);
    await subject.take(1);
    await subject.take(2, { maxWait: 5000, waited: 10 });
    await subject.take(id, { maxWait: 5000, waited: 20 });
    await subject.hold(1, 0);
    await until(() => messages.length === 1);
    await subject.take(id, { maxWait: 5000, waited: 20 });
    await until(() => messages.length === 2);
    await subject.take(2, { maxWait: 5000, waited: 10 });
    await subject.run('reset');
    await until(() => messages.length === 3);
    expect(messages).toEqual([`${id}: 2`, '2: 1', '']);
  });

  it.each([
    ['on the fast path', SCRIPT],
    ['on the general path', WITHOUT_FAST_PATH],
  ])('are published for the processes that are granted one, %s', async (_, script) => {
    const clock = new FakeClock();
    const { prefix, store } = openWithScript(client, script, clock);
    const listening = new RedisStore({ client, subscriber, clock, prefix });
    stores.push(listening);
    const subject = new SlotSubject(() => listening, { concurrency: 3 });
    const { messages } = subject;
    subject.listen(1, 2, 2 ** 47 - 1);
    await until(() => messages.length === 1);
    const take = { policy: subject.policy, key: 'key', amount: 1000, maxWait: 0 };
    const hold = (holder: SlotHolder) => store.run({ verb: 'hold', takes: [{ ...take, holder }] });
    await hold({ id: 1, count: 3, sequence: 5 });
    await hold({ id: 2, count: 0, sequence: 6, waited: 10 });
    await hold({ id: 2 ** 47 - 1, count: 0, sequence: 7, waited: 20 });
    await hold({ id: 1, count: 2, sequence: 8 });
    await hold({ id: 2 ** 47 - 1, count: 1, sequence: 2 ** 33, waited: 5 });
    await hold({ id: 1, count: 0, sequence: 10, waited: 1 });
    await until(() => messages.length === 4);
    expect(messages.slice(1).sort()).toEqual([`${2 ** 47 - 1}: 0 7`, `${2 ** 47 - 1}: 0 ${2 ** 33}`, '2: 0 6'].sort());
  });

  it('are executed in batches in the order of their calls', async () => {
    const subject = slots(3);
    const takes = [1, 1, 2, 2].map((id) => subject.take(id));
    const answers = await Promise.all([...takes, subject.hold(1, 0), subject.take(2), subject.take(2)]);
    expect(answers.map(({ allowed, remaining }) => [allowed, remaining])).toEqual([
      [true, 2],
      [true, 1],
      [true, 0],
      [false, 0],
      [true, 2],
      [true, 1],
      [true, 0],
    ]);
  });

  it('are stored as six numbers for each process', async () => {
    const clock = new FakeClock();
    const { store, stored } = openWithScript(client, SCRIPT, clock);
    const general = openWithScript(client, WITHOUT_FAST_PATH, clock);
    const policy = parsePolicy({ concurrency: 3 }, 'slots');
    const take = { policy, key: 'k', amount: 1000, maxWait: 0 };
    const requests: StoreRequest[] = [
      { verb: 'take', takes: [{ ...take, holder: { id: 7 } }] },
      { verb: 'take', takes: [{ ...take, holder: { id: 9 } }] },
      { verb: 'hold', takes: [{ ...take, holder: { id: 9, count: 2, sequence: 3 } }] },
      { verb: 'hold', takes: [{ ...take, holder: { id: 7, count: 1, sequence: 1, waited: 5 } }] },
      { verb: 'take', takes: [{ ...take, holder: { id: 9, count: 3, sequence: 4 } }] },
      { verb: 'hold', takes: [{ ...take, holder: { id: 9, count: 1, sequence: 5 } }] },
      { verb: 'hold', takes: [{ ...take, holder: { id: 7, count: 0, sequence: 2 } }] },
    ];
    const [now, expiry] = [clock.now(), clock.now() + 30_000];
    const states = [
      [now, 1, 7, 1, expiry, 0, 0, 0],
      [now, 2, 7, 1, expiry, 0, 0, 0, 9, 1, expiry, 0, 0, 0],
      [now, 2, 7, 1, expiry, 0, 0, 0, 9, 2, expiry, 3, 0, 0],
      [now, 2, 7, 1, expiry, 1, now - 5, now + 2500, 9, 2, expiry, 3, 0, 0],
      [now, 2, 7, 1, expiry, 1, now - 5, now + 2500, 9, 3, expiry, 4, 0, 0],
      // The slot is granted to process 7.
      [now, 2, 7, 2, expiry, 1, 0, 0, 9, 1, expiry, 5, 0, 0],
      [now, 1, 9, 1, expiry, 5, 0, 0],
    ];
    for (const [i, request] of requests.entries()) {
      const answers = [await store.run(request), await general.store.run(request)];
      expect(answers[0]).toEqual(answers[1]);
      for (const values of [await stored(), await general.stored()]) {
        expect(values.map(([, value]) => value)).toEqual([compactState(states[i]).toString('hex')]);
      }
    }
    await store.run({ verb: 'hold', takes: [{ ...take, holder: { id: 9, count: 0, sequence: 6 } }] });
    expect(await stored()).toEqual([]);
  });

  it('name the key of a value that is not a bucket', async () => {
    const subject = slots(2);
    await subject.take(1);
    const [key] = await client.keys(`slots-${process.pid}-${count}:*`);
    for (const value of ['x', compactState([1, 2, 3]), compactState([1, 1, 2, 3, 4, 5, 6, 7, 8])]) {
      await client.set(key, value);
      await expect(subject.take(1)).rejects.toMatchObject({ scope: 'bucket', message: expect.stringContaining(key) });
    }
  });
});

import { afterAll, afterEach, describe, expect, it } from '@jest/globals';
import { Redis } from 'iovalkey';
import { RedisStore } from 'nest-rate-limit';
import { describeStoreContract } from 'nest-rate-limit/testing';
import { closeBuckets, log } from '../../../support/buckets.js';
import { redisUrl } from '../../../support/redis.js';
import { exercise } from '../../../support/redis-clients.js';

const client = new Redis(redisUrl(), { socketTimeout: 10_000 });
let count = 0;
const prefix = () => `iovalkey-${process.pid}-${count++}:`;

closeBuckets();
afterEach(() => {
  log.lines.length = 0;
});
afterAll(() => client.disconnect());
describeStoreContract('RedisStore on iovalkey', (clock) => new RedisStore({ client, clock, prefix: prefix() }));

describe('RedisStore on iovalkey', () => {
  it('runs each operation', async () => {
    await exercise({ redis: client, prefix: prefix() });
    expect(log.lines).toEqual([]);
  });
});

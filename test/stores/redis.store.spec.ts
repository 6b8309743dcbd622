import { afterAll } from '@jest/globals';
import { Redis } from 'ioredis';
import { RedisStore } from 'nest-rate-limit';
import { describeStoreContract } from 'nest-rate-limit/testing';

const client = new Redis(process.env.TEST_REDIS_URL as string);
afterAll(() => client.quit());

let run = 0;
const prefix = () => `test-${process.pid}-${run++}:`;

describeStoreContract('RedisStore', (clock) => new RedisStore({ client, clock, prefix: prefix() }));

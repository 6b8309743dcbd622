import { afterAll, afterEach, beforeAll, describe, expect } from '@jest/globals';
import { Redis } from 'ioredis';
import { RedisStore } from 'nest-rate-limit';
import { parsePolicy } from '../../../src/core/policy.js';
import { itSince } from '../../support/it-since.js';
import { type RedisServer, startRedis } from '../../support/redis.js';

type Command = [string, ...string[]];

/** What makes a server reject writes, since which version of Redis it does so in scripts, and how to undo it. */
const REJECTIONS: [string, number, Command, Command][] = [
  ['a rule of the ACL', 6, ['ACL', 'SETUSER', 'default', '-set'], ['ACL', 'SETUSER', 'default', '+set']],
  [
    'keys that may only be read',
    7,
    ['ACL', 'SETUSER', 'default', 'resetkeys', '%R~*'],
    ['ACL', 'SETUSER', 'default', 'allkeys'],
  ],
  ['full memory', 5, ['CONFIG', 'SET', 'maxmemory', '1'], ['CONFIG', 'SET', 'maxmemory', '0']],
  ['the role of a replica', 5, ['REPLICAOF', '127.0.0.1', '1'], ['REPLICAOF', 'NO', 'ONE']],
  [
    'missing replicas',
    7,
    ['CONFIG', 'SET', 'min-replicas-to-write', '1'],
    ['CONFIG', 'SET', 'min-replicas-to-write', '0'],
  ],
];

describe('RedisStore with a server that rejects writes', () => {
  let server: RedisServer;
  let client: Redis;
  let undo: Command;
  beforeAll(async () => {
    server = await startRedis();
    client = new Redis(server.url);
    client.on('error', () => {});
  });
  afterEach(() => client.call(...undo));
  afterAll(async () => {
    client.disconnect();
    await server.kill();
  });

  for (const [cause, since, reject, accept] of REJECTIONS) {
    itSince(since)(`reports that it rejects writes because of ${cause}`, async () => {
      undo = accept;
      const store = new RedisStore({ client });
      const policy = parsePolicy({ capacity: 5, refill: 1 }, 'test');
      const take = () => store.run({ verb: 'take', takes: [{ policy, key: cause, amount: 1000, maxWait: 0 }] });
      await take();
      await client.call(...reject);
      await expect(take()).rejects.toMatchObject({
        message: expect.stringMatching(/^Redis rejects writes: /),
        scope: 'write',
        outcome: 'not-applied',
      });
      store.close();
    });
  }
});

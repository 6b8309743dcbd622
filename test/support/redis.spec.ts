import { existsSync } from 'node:fs';
import { afterAll, describe, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { redisUrl, startRedis } from './redis.js';

describe('the Redis of the tests', () => {
  const clients: Redis[] = [];
  const client = (url: string) => {
    const redis = new Redis(url, { retryStrategy: () => null, maxRetriesPerRequest: 0 });
    redis.on('error', () => {});
    clients.push(redis);
    return redis;
  };
  afterAll(() => {
    for (const redis of clients) if (redis.status !== 'end') redis.disconnect();
  });

  it('is shared by all test files', async () => {
    expect(await client(redisUrl()).ping()).toBe('PONG');
  });

  it('may be a separate server, which accepts arguments, can be paused, and resumes', async () => {
    const server = await startRedis({ args: ['--maxmemory', '3mb'] });
    const redis = client(server.url);
    expect(await redis.config('GET', 'maxmemory')).toEqual(['maxmemory', `${3 * 1024 * 1024}`]);

    server.pause();
    let answered = false;
    const pong = redis.ping().finally(() => (answered = true));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(answered).toBe(false);
    server.resume();
    expect(await pong).toBe('PONG');

    await server.stop();
    await expect(client(server.url).ping()).rejects.toThrow();
  });

  it('is the binary that REDIS_SERVER names, and no other', async () => {
    const { REDIS_SERVER } = process.env;
    try {
      process.env.REDIS_SERVER = '/nowhere/valkey-server';
      await expect(startRedis()).rejects.toThrow(/did not start on port \d+:[\s\S]*\/nowhere\/valkey-server/);
    } finally {
      if (REDIS_SERVER === undefined) delete process.env.REDIS_SERVER;
      else process.env.REDIS_SERVER = REDIS_SERVER;
    }
  });

  it('starts again on the port of a killed one, empty', async () => {
    const first = await startRedis();
    await client(first.url).set('key', 'value');
    await first.kill();
    const second = await startRedis({ port: first.port });
    expect(second.pid).not.toBe(first.pid);
    expect(await client(second.url).get('key')).toBeNull();
    const [, dir = ''] = (await client(second.url).config('GET', 'dir')) as string[];
    expect(existsSync(dir)).toBe(true);

    second.pause();
    await second.stop();
    expect(existsSync(dir)).toBe(false);
  });
});

// Buckets in Redis without ioredis, which is not installed: the store uses a client of node-redis.
import 'reflect-metadata';
import { deepStrictEqual, rejects } from 'node:assert';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { BucketService, RateLimitModule } from 'nest-rate-limit';
import { createClient } from 'redis';

async function main(url: string) {
  await rejects(import('ioredis' as string));
  const client = createClient({
    url,
    pingInterval: 5000,
    socket: { socketTimeout: 20_000, reconnectStrategy: () => 100 },
  });
  client.on('error', (error) => console.error(error));
  await client.connect();

  @Module({
    imports: [
      RateLimitModule.forRoot({
        store: { redis: client, prefix: `smoke-${process.pid}-node-redis:` },
        failure: { mode: 'closed', timeout: '10s' },
      }),
    ],
  })
  class AppModule {}

  const app = await NestFactory.createApplicationContext(AppModule, { logger: ['error', 'warn'] });
  const bucket = app.get(BucketService).bucket({ name: 'pool', capacity: 2, refill: 0 }, 'key');
  const { allowed, remaining, source } = await bucket.decide(2);
  deepStrictEqual({ allowed, remaining, source }, { allowed: true, remaining: 0, source: 'store' });
  const watched = bucket.watch(1, { timeout: '4s' });
  await bucket.put(1);
  await watched;
  await app.close();
  await client.close();
  console.log('done');
}

main(process.argv[2]);

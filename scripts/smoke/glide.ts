// Buckets in Redis without ioredis, which is not installed: the store uses a client of Valkey GLIDE.
import 'reflect-metadata';
import { deepStrictEqual, rejects } from 'node:assert';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { GlideClient } from '@valkey/valkey-glide';
import { BucketService, RateLimitModule } from 'nest-rate-limit';

async function main(url: string) {
  await rejects(import('ioredis' as string));
  const { hostname: host, port } = new URL(url);
  const open = () => GlideClient.createClient({ addresses: [{ host, port: Number(port) }], requestTimeout: 10_000 });
  const [client, subscriber] = [await open(), await open()];

  @Module({
    imports: [
      RateLimitModule.forRoot({
        store: { redis: client, subscriber, prefix: `smoke-${process.pid}-glide:` },
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
  client.close();
  subscriber.close();
  console.log('done');
}

main(process.argv[2]);

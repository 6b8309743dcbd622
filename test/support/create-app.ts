import { randomUUID } from 'node:crypto';
import { type INestApplication, type ModuleMetadata } from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import type { RateLimitModuleOptions } from 'nest-rate-limit';
import { redisUrl } from './redis.js';

export const ADAPTERS = ['express', 'fastify'] as const;
export const STORES = ['memory', 'redis'] as const;
export type AdapterName = (typeof ADAPTERS)[number];
export type StoreName = (typeof STORES)[number];

/** Every adapter combined with every store. */
export const COMBINATIONS = ADAPTERS.flatMap((adapter) => STORES.map((store) => ({ adapter, store })));

/** Returns module options for the named store. No two calls share buckets. */
export function storeOptions(store: StoreName): RateLimitModuleOptions {
  if (store === 'memory') return {};
  // A long timeout, so that a busy machine does not trigger the failure mode.
  const failure = { mode: 'closed', timeout: '10s' } as const;
  return { store: { redis: redisUrl(), prefix: `e2e-${randomUUID()}:` }, failure };
}

/**
 * Creates and initializes an application, which the caller closes. `prepare` runs before `init()`; `trust` is the proxy
 * setting of the framework.
 */
export async function createApp(
  adapter: AdapterName,
  metadata: ModuleMetadata,
  prepare: (app: INestApplication) => void = () => {},
  trust?: unknown,
): Promise<INestApplication> {
  const module = await Test.createTestingModule(metadata).compile();
  const fastify = trust === undefined ? {} : { trustProxy: trust as string };
  const app =
    adapter === 'express'
      ? module.createNestApplication(new ExpressAdapter(), { logger: false })
      : module.createNestApplication<NestFastifyApplication>(new FastifyAdapter(fastify), { logger: false });
  if (adapter === 'express' && trust !== undefined) app.getHttpAdapter().getInstance().set('trust proxy', trust);
  prepare(app);
  await app.init();
  if (adapter === 'fastify') await app.getHttpAdapter().getInstance().ready();
  return app;
}

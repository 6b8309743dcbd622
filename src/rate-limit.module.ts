import {
  ConfigurableModuleBuilder,
  type DynamicModule,
  Inject,
  Logger,
  Module,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type Provider,
} from '@nestjs/common';
import { APP_FILTER, APP_GUARD, DiscoveryModule, HttpAdapterHost } from '@nestjs/core';
import { BucketService, POLICIES } from './bucket.service.js';
import { at } from './core/option-error.js';
import { Enhancers } from './enhancers.js';
import {
  addPolicies,
  type ParsedModuleOptions,
  parseModuleOptions,
  type RateLimitModuleOptions,
  type RedisOptionsOfModule,
} from './module-options.js';
import { PARSED_OPTIONS, Plans, WaitingLine } from './plans.js';
import { RateLimitGuard } from './rate-limit.guard.js';
import type { RateLimitOptions } from './rate-limit.options.js';
import { ResolverInstances } from './resolver-instances.js';
import { DenyCacheStore } from './stores/deny-cache.store.js';
import { LeaseStore } from './stores/lease.store.js';
import { MemoryStore } from './stores/memory/memory.store.js';
import { RateLimitStore, type StoreHealth } from './stores/rate-limit.store.js';
import { isClient, unsuitableSettings } from './stores/redis/client.js';
import { RedisStore } from './stores/redis/redis.store.js';
import { ResilientStore } from './stores/resilient.store.js';
import { Documentation } from './swagger/documentation.js';
import { clientKey } from './transport/client-key.js';
import { warnOfTrust } from './transport/proxy-warning.js';
import { NoFilter, RefusalFilter } from './transport/refusal.filter.js';

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, OPTIONS_TYPE, ASYNC_OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<RateLimitModuleOptions>({ moduleName: 'RateLimit' })
    .setClassMethodName('forRoot')
    .setFactoryMethodName('createRateLimitOptions')
    .setExtras({ isGlobal: true }, (definition, { isGlobal }) => ({ ...definition, global: isGlobal }))
    .build();

const PROVIDERS: Provider[] = [
  ResolverInstances,
  Plans,
  WaitingLine,
  BucketService,
  RateLimitGuard,
  Enhancers,
  Documentation,
  {
    provide: PARSED_OPTIONS,
    inject: [MODULE_OPTIONS_TOKEN, ResolverInstances],
    useFactory: (options: RateLimitModuleOptions, instances: ResolverInstances) =>
      parseModuleOptions(options, instances.of),
  },
  {
    provide: RateLimitStore,
    inject: [PARSED_OPTIONS],
    useFactory: (options: ParsedModuleOptions) => openStore(options),
  },
  {
    provide: POLICIES,
    inject: [PARSED_OPTIONS],
    useFactory: ({ named }: ParsedModuleOptions) => named,
  },
  {
    provide: APP_GUARD,
    inject: [PARSED_OPTIONS, RateLimitGuard],
    useFactory: ({ guard }: ParsedModuleOptions, bound: RateLimitGuard) =>
      guard ? bound : { canActivate: () => true },
  },
  {
    provide: APP_FILTER,
    inject: [PARSED_OPTIONS, HttpAdapterHost],
    useFactory: ({ problemDetails }: ParsedModuleOptions, adapterHost: HttpAdapterHost) =>
      problemDetails ? new RefusalFilter(adapterHost, true) : new NoFilter(),
  },
];

const FEATURE = Symbol('nest-rate-limit:feature');

/** The policies of one feature. They are there before the plans of handlers are made. */
@Module({})
class FeaturePolicies {
  constructor(
    @Inject(FEATURE) policies: Record<string, RateLimitOptions>,
    @Inject(PARSED_OPTIONS) { named, key }: ParsedModuleOptions,
    instances: ResolverInstances,
    enhancers: Enhancers,
    documentation: Documentation,
  ) {
    at('Invalid RateLimitModule.forFeature', () => addPolicies(policies, named, key, instances.of));
    // Again: handlers may name these.
    enhancers.bind();
    documentation.write();
  }
}

/**
 * Brings rate limiting to an application: `imports: [RateLimitModule.forRoot()]`. From then on whatever carries
 * `@RateLimit` is limited; nothing else is, unless `default` is given.
 */
@Module({
  imports: [DiscoveryModule],
  providers: PROVIDERS,
  exports: [
    RateLimitStore,
    BucketService,
    Plans,
    PARSED_OPTIONS,
    ResolverInstances,
    WaitingLine,
    Enhancers,
    Documentation,
  ],
})
export class RateLimitModule extends ConfigurableModuleClass implements OnApplicationBootstrap, OnApplicationShutdown {
  constructor(
    private readonly store: RateLimitStore,
    @Inject(PARSED_OPTIONS) private readonly options: ParsedModuleOptions,
    private readonly adapterHost: HttpAdapterHost,
  ) {
    super();
  }

  /** Buckets in memory, unless `store` says where else. */
  static override forRoot(options: typeof OPTIONS_TYPE = {}): DynamicModule {
    return super.forRoot(options);
  }

  /** The same with options from a factory (`useFactory`) or a class with `createRateLimitOptions()`. */
  static override forRootAsync(options: typeof ASYNC_OPTIONS_TYPE): DynamicModule {
    return super.forRootAsync(options);
  }

  /**
   * Adds named policies where they are used, in the module of a feature; `forRoot` stands in the application's. A name
   * belongs to one policy in the whole application.
   */
  static forFeature(policies: Record<string, RateLimitOptions>): DynamicModule {
    return { module: FeaturePolicies, providers: [{ provide: FEATURE, useValue: policies }] };
  }

  onApplicationBootstrap(): void {
    if (this.options.key === clientKey) warnOfTrust(this.adapterHost.httpAdapter?.getInstance());
  }

  async onApplicationShutdown(): Promise<void> {
    await this.store.close();
  }
}

/** The store of the options; one that can fail in wrappers that see to its failures. */
async function openStore({ store, failure }: ParsedModuleOptions): Promise<RateLimitStore> {
  if (!store) return new MemoryStore();
  if (store instanceof MemoryStore) return store;
  const inner = store instanceof RateLimitStore ? store : await openRedis(store, failure.timeout);
  if (inner instanceof RedisStore && inner.timeout > failure.timeout) {
    logger.warn('`timeout` of the RedisStore is above `failure.timeout`: what was given up may take tokens later');
  }
  const leasing = new LeaseStore(new ResilientStore(inner, { ...failure, onHealth, onUnreadable }));
  return inner instanceof RedisStore && inner.denyCache ? new DenyCacheStore(leasing) : leasing;
}

function openRedis({ redis, ...options }: RedisOptionsOfModule, timeout: number): Promise<RedisStore> {
  if (isClient(redis)) for (const found of unsuitableSettings(redis)) logger.warn(`Redis connection: ${found}`);
  return RedisStore.connect(redis, { timeout, ...options });
}

const logger = new Logger('RateLimit');

function onUnreadable({ message }: Error): void {
  logger.warn(message);
}

function onHealth({ status, error }: StoreHealth): void {
  if (status === 'up') logger.log('The store answers again');
  else logger.error(`The store does not answer, the failure mode decides: ${error?.message}`);
}

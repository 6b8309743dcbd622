import {
  ConfigurableModuleBuilder,
  type DynamicModule,
  Inject,
  Logger,
  Module,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type OnModuleInit,
  type Provider,
} from '@nestjs/common';
import { APP_FILTER, APP_GUARD, DiscoveryModule, DiscoveryService, HttpAdapterHost, ModuleRef } from '@nestjs/core';
import { BucketService, POLICIES } from './bucket.service.js';
import { RateLimitOptionError } from './core/option-error.js';
import { Enhancers } from './enhancers.js';
import {
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

const FEATURE = Symbol.for('nest-rate-limit:feature');

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
    inject: [{ token: MODULE_OPTIONS_TOKEN, optional: true }, DiscoveryService, ResolverInstances],
    useFactory: parseAll,
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

/** Holds the policies of one feature. The module of `forRoot` finds them, wherever they are. */
@Module({})
class FeaturePolicies implements OnModuleInit {
  constructor(private readonly moduleRef: ModuleRef) {}

  onModuleInit(): void {
    try {
      this.moduleRef.get(PARSED_OPTIONS, { strict: false });
    } catch {
      throw new RateLimitOptionError(
        'Invalid RateLimitModule.forFeature: `RateLimitModule.forRoot()` must be imported in the application, too',
      );
    }
  }
}

/**
 * Brings rate limiting to an application: `imports: [RateLimitModule.forRoot()]`. From then on whatever carries
 * `@RateLimit` is limited; nothing else is, unless `default` is given.
 */
@Module({
  imports: [DiscoveryModule],
  providers: PROVIDERS,
  // The last three are what a guard needs, since Nest makes one for each module that binds it.
  exports: [RateLimitStore, BucketService, RateLimitGuard, Plans, PARSED_OPTIONS, WaitingLine],
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

/** The module's options with the policies of all features, wherever these are in the application. */
function parseAll(
  options: RateLimitModuleOptions,
  discovery: DiscoveryService,
  instances: ResolverInstances,
): ParsedModuleOptions {
  const providers = discovery.getProviders();
  const modules = providers.filter(({ token }) => token === PARSED_OPTIONS).length;
  if (modules > 1) {
    throw new RateLimitOptionError(
      `Invalid RateLimitModule: it must be one in an application, found ${modules}. Call \`forRoot\` once, import the ` +
        'same result wherever it is needed, and add policies of a feature by `forFeature`',
    );
  }
  const features = providers.filter(({ token }) => token === FEATURE).map(({ instance }) => instance);
  return parseModuleOptions(options, features, instances.of);
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

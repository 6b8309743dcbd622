import {
  ConfigurableModuleBuilder,
  type DynamicModule,
  Inject,
  Module,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type Provider,
} from '@nestjs/common';
import { APP_GUARD, ApplicationConfig, DiscoveryModule, HttpAdapterHost, ModuleRef } from '@nestjs/core';
import { BucketService, POLICIES } from '../bucket/bucket.service.js';
import { RateLimitGuard } from '../guard/rate-limit.guard.js';
import { settlementsDone } from '../guard/settle-cost.js';
import { WaitQueue } from '../guard/wait-queue.js';
import { clientKey } from '../keys/client-key.js';
import { warnIfAllProxiesTrusted } from '../keys/proxy-warning.js';
import { CallLimiter } from '../methods/call-limiter.js';
import { MethodRuntime } from '../methods/method-runtime.js';
import { Explorer } from '../policy/explorer.js';
import { METHOD_CALLS } from '../policy/limited-method.js';
import { PARSED_OPTIONS, type ParsedModuleOptions } from '../policy/parsed-options.js';
import { PlanRegistry } from '../policy/plan-registry.js';
import type { RateLimitOptions } from '../policy/rate-limit.options.js';
import type { ResolverLookup } from '../policy/resolvable.js';
import { ResolverRegistry } from '../policy/resolver-registry.js';
import { RateLimitStore } from '../stores/rate-limit.store.js';
import { Documentation } from '../swagger/documentation.js';
import { RateLimitOptionError, withErrorPrefix } from '../util/option-error.js';
import { copiesHint, providersOfCopies } from './copies.js';
import { createStore } from './create-store.js';
import { EnhancerBinder } from './enhancer-binder.js';
import type { RateLimitModuleOptions } from './module-options.js';
import { addFeature, checkGiven, parseModuleOptions } from './parse-module-options.js';
import { closeUnlessUsed } from './store-users.js';
import { warnOfUnguarded } from './unguarded-warning.js';
import { warnOfUnrouted } from './unrouted-warning.js';

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, OPTIONS_TYPE, ASYNC_OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<RateLimitModuleOptions>({ moduleName: 'RateLimit' })
    .setClassMethodName('forRoot')
    .setFactoryMethodName('createRateLimitOptions')
    .setExtras({ isGlobal: true }, (definition, { isGlobal }) => ({ ...definition, global: isGlobal }))
    .build();

/** Injection token of the policies of a feature. */
const FEATURE = Symbol.for('nest-rate-limit:feature');

const PROVIDERS: Provider[] = [
  Explorer,
  ResolverRegistry,
  PlanRegistry,
  WaitQueue,
  BucketService,
  RateLimitGuard,
  EnhancerBinder,
  Documentation,
  MethodRuntime,
  CallLimiter,
  { provide: METHOD_CALLS, useExisting: MethodRuntime },
  {
    provide: PARSED_OPTIONS,
    inject: [{ token: MODULE_OPTIONS_TOKEN, optional: true }, Explorer, ResolverRegistry],
    useFactory: parseOptions,
  },
  {
    provide: RateLimitStore,
    inject: [PARSED_OPTIONS],
    useFactory: createStore,
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
];

/**
 * Provides the policies of one feature. The module of `forRoot` finds them wherever they are imported, except those of a
 * module that is loaded lazily, for which Nest calls no hooks: they are added by the constructor.
 */
@Module({})
class FeaturePolicies {
  private isLoaded = false;

  constructor(
    private readonly moduleRef: ModuleRef,
    @Inject(FEATURE) policies: Record<string, RateLimitOptions>,
  ) {
    const options = this.findOptions();
    // While the application is created, there may be none yet.
    if (options) addFeature(policies, options, this.lookup);
    this.isLoaded = true;
  }

  /** Resolvers of a lazily loaded module are created after its policies. */
  private readonly lookup: ResolverLookup = (type) =>
    this.isLoaded ? this.moduleRef.get(type, { strict: false }) : undefined;

  private findOptions(): ParsedModuleOptions | null | undefined {
    try {
      return this.moduleRef.get(PARSED_OPTIONS, { strict: false });
    } catch {
      throw new RateLimitOptionError(
        'Invalid RateLimitModule.forFeature: `RateLimitModule.forRoot()` must be imported in the application, too',
      );
    }
  }
}

/**
 * Adds rate limiting to an application: `imports: [RateLimitModule.forRoot()]`. Handlers with `@RateLimit` are limited;
 * others are not, unless `default` is set.
 */
@Module({
  imports: [DiscoveryModule],
  providers: PROVIDERS,
  // Nest creates a guard in each module that binds it: the three before the last are its dependencies.
  exports: [RateLimitStore, BucketService, RateLimitGuard, PlanRegistry, PARSED_OPTIONS, WaitQueue, METHOD_CALLS],
})
export class RateLimitModule extends ConfigurableModuleClass implements OnApplicationBootstrap, OnApplicationShutdown {
  constructor(
    private readonly store: RateLimitStore,
    @Inject(PARSED_OPTIONS) private readonly options: ParsedModuleOptions,
    private readonly plans: PlanRegistry,
    private readonly explorer: Explorer,
    private readonly config: ApplicationConfig,
    private readonly adapterHost: HttpAdapterHost,
  ) {
    super();
  }

  /** Configures the application's rate limits. Without `store`, buckets are kept in memory. */
  static override forRoot(options: typeof OPTIONS_TYPE = {}): DynamicModule {
    withErrorPrefix('Invalid RateLimitModule options', () => checkGiven(options));
    return withCopies(super.forRoot(options));
  }

  /** The same with options from a factory (`useFactory`) or a class with `createRateLimitOptions()`. */
  static override forRootAsync(options: typeof ASYNC_OPTIONS_TYPE): DynamicModule {
    return withCopies(super.forRootAsync(options));
  }

  /**
   * Adds named policies in the module of the feature that uses them; `forRoot` is imported in the application's root
   * module. A name must be unique in the whole application.
   */
  static forFeature(policies: Record<string, RateLimitOptions>): DynamicModule {
    return { module: FeaturePolicies, providers: [{ provide: FEATURE, useValue: policies }] };
  }

  onApplicationBootstrap(): void {
    warnOfUnrouted(this.explorer.classes);
    if (!this.options.guard) warnOfUnguarded(this.plans.limited(), this.config.getGlobalGuards());
    if (this.options.key === clientKey) warnIfAllProxiesTrusted(this.adapterHost.httpAdapter?.getInstance());
  }

  /** Nest's last hook: its servers have closed, so the costs of all requests can be settled. */
  async onApplicationShutdown(): Promise<void> {
    await settlementsDone(this.store);
    await closeUnlessUsed(this.store);
  }
}

function withCopies(module: DynamicModule): DynamicModule {
  const others = providersOfCopies();
  if (others.length === 0) return module;
  const tokens = others.map(({ provide }) => provide);
  return {
    ...module,
    providers: [...(module.providers ?? []), ...others],
    exports: [...(module.exports ?? []), ...tokens],
  };
}

/** Parses the module's options together with the policies of all features in the application. */
function parseOptions(
  options: RateLimitModuleOptions,
  explorer: Explorer,
  resolvers: ResolverRegistry,
): ParsedModuleOptions {
  const modules = explorer.instancesOf(PARSED_OPTIONS).length;
  if (modules > 1) {
    throw new RateLimitOptionError(
      `RateLimitModule.forRoot() was imported ${modules} times; import it once, and add the policies of features with ` +
        `\`forFeature\`${copiesHint()}`,
    );
  }
  const features = explorer.instancesOf(FEATURE) as Record<string, RateLimitOptions>[];
  return parseModuleOptions(options, features, resolvers.lookup);
}

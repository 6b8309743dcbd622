import {
  ConfigurableModuleBuilder,
  type DynamicModule,
  Inject,
  Module,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type OnModuleInit,
  type Provider,
} from '@nestjs/common';
import {
  APP_GUARD,
  ApplicationConfig,
  DiscoveryModule,
  DiscoveryService,
  HttpAdapterHost,
  ModuleRef,
} from '@nestjs/core';
import { BucketService, POLICIES } from '../bucket/bucket.service.js';
import { RateLimitGuard } from '../guard/rate-limit.guard.js';
import { allSettled } from '../guard/settlement.js';
import { clientKey } from '../keys/client-key.js';
import { warnOfTrust } from '../keys/proxy-warning.js';
import { classesOf } from '../policy/explorer.js';
import { PARSED_OPTIONS, Plans, WaitingLine } from '../policy/plan-registry.js';
import { redecorate } from '../policy/rate-limit.decorator.js';
import type { RateLimitOptions } from '../policy/rate-limit.options.js';
import { ResolverInstances } from '../policy/resolver-registry.js';
import { RateLimitStore } from '../stores/rate-limit.store.js';
import { Documentation } from '../swagger/documentation.js';
import { at, RateLimitOptionError } from '../util/option-error.js';
import { openStore } from './create-store.js';
import { Enhancers } from './enhancer-binder.js';
import {
  checkGiven,
  type ParsedModuleOptions,
  parseModuleOptions,
  type RateLimitModuleOptions,
} from './module-options.js';
import { warnOfUnguarded } from './unguarded-warning.js';

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
    useFactory: openStore,
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
    private readonly plans: Plans,
    private readonly config: ApplicationConfig,
    private readonly adapterHost: HttpAdapterHost,
  ) {
    super();
  }

  /** Buckets in memory, unless `store` says where else. */
  static override forRoot(options: typeof OPTIONS_TYPE = {}): DynamicModule {
    at('Invalid RateLimitModule options', () => checkGiven(options));
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
    if (!this.options.guard) warnOfUnguarded(this.plans.limited(), this.config.getGlobalGuards());
    if (this.options.key === clientKey) warnOfTrust(this.adapterHost.httpAdapter?.getInstance());
  }

  /** Nest's last hook: its servers have closed, so what they let finish can be settled. */
  async onApplicationShutdown(): Promise<void> {
    await allSettled(this.store);
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
  // Here, because all who look for decorators ask for these options first.
  for (const type of classesOf([...discovery.getControllers(), ...providers])) redecorate(type);
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

import { Module, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { recordRateLimits } from './record.js';

/** Running applications of this process that import the module. The channels are shared, so one of them records. */
let applications = 0;
let stop = () => {};

/**
 * Records OpenTelemetry metrics of all rate limits of this process while the application runs. The global
 * `MeterProvider` must be set before the application starts.
 *
 * ```ts
 * @Module({ imports: [RateLimitModule.forRoot(), RateLimitMetricsModule] })
 * class AppModule {}
 * ```
 */
@Module({})
export class RateLimitMetricsModule implements OnModuleInit, OnApplicationShutdown {
  private started = false;

  // Not in the constructor: instruments created before the provider is set never record anything.
  onModuleInit(): void {
    this.started = true;
    if (applications++ === 0) stop = recordRateLimits();
  }

  onApplicationShutdown(): void {
    if (!this.started) return;
    this.started = false;
    if (--applications === 0) stop();
  }
}

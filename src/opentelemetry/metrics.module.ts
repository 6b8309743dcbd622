import { Module, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { recordRateLimits } from './record.js';

/** Applications of this process that record; all hear the same channels, so one of them records for all. */
let recording = 0;
let stop = () => {};

/**
 * Records metrics of all rate limits of this process with OpenTelemetry, from the start of the application to its end:
 * `imports: [RateLimitModule.forRoot(), RateLimitMetricsModule]`. The global `MeterProvider` must be set before.
 */
@Module({})
export class RateLimitMetricsModule implements OnModuleInit, OnApplicationShutdown {
  private started = false;

  // Not earlier: instruments that are made before the provider is set stay dead.
  onModuleInit(): void {
    this.started = true;
    if (recording++ === 0) stop = recordRateLimits();
  }

  onApplicationShutdown(): void {
    if (!this.started) return;
    this.started = false;
    if (--recording === 0) stop();
  }
}

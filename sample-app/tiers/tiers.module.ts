import { type MiddlewareConsumer, Module, type NestModule } from '@nestjs/common';
import { byIp, byUser, RateLimitModule } from 'nest-rate-limit';
import { ApiKeyMiddleware } from './api-key.middleware.js';
import { TiersController } from './tiers.controller.js';

/** A burst of `capacity`, refilled every minute. The header alone is not a key: a client could invent many. */
const perMinute = (capacity: number) =>
  ({ capacity, refill: capacity, unit: 'minute', key: byUser('name', byIp()) }) as const;

@Module({
  imports: [RateLimitModule.forFeature({ premium: perMinute(1000), standard: perMinute(100), free: perMinute(10) })],
  controllers: [TiersController],
})
export class TiersModule implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer.apply(ApiKeyMiddleware).forRoutes(TiersController);
  }
}

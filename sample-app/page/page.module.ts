import { Module } from '@nestjs/common';
import { DemoRedis } from './demo-redis.js';
import { LiveFeed } from './live-feed.js';
import { PageController } from './page.controller.js';

/** The live page at `/`, and the switch that it has for Redis. */
@Module({
  controllers: [PageController],
  providers: [DemoRedis, LiveFeed],
  exports: [DemoRedis],
})
export class PageModule {}

import { Module } from '@nestjs/common';
import { DemoRedis } from './demo-redis.js';
import { LiveFeed } from './live-feed.js';
import { PageController } from './page.controller.js';

/** The live page at `/`, with its switch for Redis. */
@Module({
  controllers: [PageController],
  providers: [DemoRedis, LiveFeed],
  exports: [DemoRedis],
})
export class PageModule {}

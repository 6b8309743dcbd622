import { Module } from '@nestjs/common';
import { DemoRedisModule } from './demo-redis.module.js';
import { LiveFeed } from './live-feed.js';
import { PageController } from './page.controller.js';

/**
 * The live page at `/`, with its switch for Redis. Modules close from the outside in: only `AppModule` may import it, so
 * that its streams end before the GraphQL server waits for open requests.
 */
@Module({
  imports: [DemoRedisModule],
  controllers: [PageController],
  providers: [LiveFeed],
})
export class PageModule {}

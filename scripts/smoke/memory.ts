// An application without Redis compiles without ioredis and its types.
import { Module } from '@nestjs/common';
import { MemoryStore, RateLimit, RateLimitModule } from 'nest-rate-limit';

@Module({ imports: [RateLimitModule.forRoot({ store: new MemoryStore({ maxBuckets: 1000 }) })] })
export class AppModule {
  @RateLimit({ maxRequest: 5 })
  limited(): void {}
}

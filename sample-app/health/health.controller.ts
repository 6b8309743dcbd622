import { Controller, Get } from '@nestjs/common';
import { RateLimitStore, SkipRateLimit } from 'nest-rate-limit';

/** Tells how the store is. The app is well either way: without Redis each process decides by itself. */
@SkipRateLimit()
@Controller('health')
export class HealthController {
  constructor(private readonly store: RateLimitStore) {}

  @Get()
  health(): object {
    const { status, since, error } = this.store.health();
    return { status, since, error: error?.message };
  }
}

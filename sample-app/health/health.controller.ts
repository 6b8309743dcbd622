import { Controller, Get } from '@nestjs/common';
import { RateLimitStore, SkipRateLimit } from 'nest-rate-limit';

/** Reports the health of the store. The app is healthy either way: without Redis, each process decides locally. */
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

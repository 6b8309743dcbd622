import { Controller, Get } from '@nestjs/common';
import { RateLimit, RateLimitStore } from 'nest-rate-limit';

/** How long an export takes, in ms. */
const EXPORT_TIME = 2000;

/** A concurrency limit: each client runs two exports at once. Others wait for up to 10 seconds until one has ended. */
@Controller('exports')
export class ExportsController {
  constructor(private readonly store: RateLimitStore) {}

  @RateLimit({ concurrency: 2, maxWait: '10s' })
  @Get()
  async run(): Promise<string> {
    await this.store.clock.sleep(EXPORT_TIME);
    return 'Exported';
  }
}

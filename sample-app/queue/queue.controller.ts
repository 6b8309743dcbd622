import { Controller, Get } from '@nestjs/common';
import { RateLimit } from 'nest-rate-limit';

/** A queue: one request per second. Requests that arrive early wait for up to 5 seconds instead of being rejected. */
@Controller('queue')
export class QueueController {
  @RateLimit({ capacity: 1, refill: 1, maxWait: '5s' })
  @Get()
  enter(): string {
    return 'It is your turn';
  }
}

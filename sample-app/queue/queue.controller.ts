import { Controller, Get } from '@nestjs/common';
import { RateLimit } from 'nest-rate-limit';

/** Waiting in line: one request per second; who comes too early waits up to 5 seconds instead of being refused. */
@Controller('queue')
export class QueueController {
  @RateLimit({ capacity: 1, refill: 1, maxWait: '5s' })
  @Get()
  enter(): string {
    return 'It is your turn';
  }
}

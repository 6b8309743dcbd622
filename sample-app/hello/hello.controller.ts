import { Controller, Get } from '@nestjs/common';
import { RateLimit, TimeUnit } from 'nest-rate-limit';

/** A sliding window: `/limited` admits at most 2 requests in any 10 seconds. Undecorated handlers are not limited. */
@Controller()
export class HelloController {
  @Get('free')
  free(): string {
    return 'Hello Free World';
  }

  @RateLimit({ duration: 10, unit: TimeUnit.SECONDS, maxRequest: 2 })
  @Get('limited')
  limited(): string {
    return 'Hello Limited World';
  }
}

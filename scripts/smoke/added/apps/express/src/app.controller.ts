import { Controller, Get } from '@nestjs/common';
import { RateLimit } from 'nest-rate-limit';

@Controller()
export class AppController {
  @RateLimit({ maxRequest: 1 })
  @Get()
  get(): string {
    return 'Hello World!';
  }
}

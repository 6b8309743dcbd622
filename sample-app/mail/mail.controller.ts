import { Body, Controller, Post } from '@nestjs/common';
import { ApiRateLimit } from 'nest-rate-limit/swagger';
import { stringOf } from '../body.js';
import { MailService } from './mail.service.js';

/** The handler is not limited; its service is. */
@Controller('mail')
export class MailController {
  constructor(private readonly mail: MailService) {}

  @ApiRateLimit() // documents the 429 response, as the handler has no `@RateLimit`
  @Post()
  async send(@Body() body: unknown): Promise<{ left: number }> {
    return { left: await this.mail.send(stringOf(body, 'to').toLowerCase()) };
  }
}

import { Body, Controller, Post } from '@nestjs/common';
import { ApiRateLimit } from 'nest-rate-limit/swagger';
import { textOf } from '../body.js';
import { MailService } from './mail.service.js';

/** Not limited itself: its service is. */
@Controller('mail')
export class MailController {
  constructor(private readonly mail: MailService) {}

  @ApiRateLimit() // OpenAPI cannot know it: here is no decorator that limits
  @Post()
  async send(@Body() body: unknown): Promise<{ left: number }> {
    return { left: await this.mail.send(textOf(body, 'to').toLowerCase()) };
  }
}

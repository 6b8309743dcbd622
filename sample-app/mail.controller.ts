import { Body, Controller, Post } from '@nestjs/common';
import { textOf } from './body.js';
import { MailService } from './mail.service.js';

/** Not limited itself: its service is. */
@Controller('mail')
export class MailController {
  constructor(private readonly mail: MailService) {}

  @Post()
  async send(@Body() body: unknown): Promise<{ left: number }> {
    return { left: await this.mail.send(textOf(body, 'to').toLowerCase()) };
  }
}

import { Module } from '@nestjs/common';
import { RateLimitModule } from 'nest-rate-limit';
import { MailController } from './mail.controller.js';
import { MailService } from './mail.service.js';

@Module({
  imports: [
    // Per recipient: a burst of 5 mails, refilled at one per second.
    RateLimitModule.forFeature({ mail: { capacity: 5, refill: 1 } }),
  ],
  controllers: [MailController],
  providers: [MailService],
})
export class MailModule {}

import { Module } from '@nestjs/common';
import { RateLimitModule } from 'nest-rate-limit';
import { MailController } from './mail.controller.js';
import { MailService } from './mail.service.js';

@Module({
  imports: [
    // To one recipient: 5 at once, one more each second.
    RateLimitModule.forFeature({ mail: { capacity: 5, refill: 1 } }),
  ],
  controllers: [MailController],
  providers: [MailService],
})
export class MailModule {}

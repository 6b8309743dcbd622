import { Module } from '@nestjs/common';
import { RateLimitModule } from 'nest-rate-limit';
import { MailServer } from './mail-server.js';
import { OutboxController } from './outbox.controller.js';
import { OutboxWorker } from './outbox.worker.js';

@Module({
  imports: [
    // What the mail server takes from all our processes together: 2 at once, one more each second.
    RateLimitModule.forFeature({ outbox: { capacity: 2, refill: 1 } }),
  ],
  controllers: [OutboxController],
  providers: [MailServer, OutboxWorker],
})
export class OutboxModule {}

import { Module } from '@nestjs/common';
import { RateLimitModule } from 'nest-rate-limit';
import { MailServer } from './mail-server.js';
import { OutboxController } from './outbox.controller.js';
import { OutboxWorker } from './outbox.worker.js';

@Module({
  imports: [
    // The limit of the mail server for all our processes: a burst of 2 mails, refilled at one per second.
    RateLimitModule.forFeature({ outbox: { capacity: 2, refill: 1 } }),
  ],
  controllers: [OutboxController],
  providers: [MailServer, OutboxWorker],
})
export class OutboxModule {}

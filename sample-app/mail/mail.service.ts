import { Injectable } from '@nestjs/common';
import { BucketService, RateLimitExceededException } from 'nest-rate-limit';

/** Calls `BucketService` instead of using a decorator: it limits mails, not requests. */
@Injectable()
export class MailService {
  constructor(private readonly buckets: BucketService) {}

  /** Sends a mail, and returns how many more can be sent to the recipient now. */
  async send(to: string): Promise<number> {
    const decision = await this.buckets.bucket('mail', to).decide();
    if (!decision.allowed) throw new RateLimitExceededException(decision);
    // A real application would send the mail here.
    return Math.floor(decision.remaining);
  }
}

import { Injectable } from '@nestjs/common';
import { BucketService, RateLimitExceededException } from 'nest-rate-limit';

/** Asks for itself, without a decorator: what it limits is not requests but mails, whoever sends them. */
@Injectable()
export class MailService {
  constructor(private readonly buckets: BucketService) {}

  /** Sends a mail; tells how many more can be sent to this recipient now. */
  async send(to: string): Promise<number> {
    const decision = await this.buckets.bucket('mail', to).decide();
    if (!decision.allowed) throw new RateLimitExceededException(decision);
    // Here the mail would go out.
    return Math.floor(decision.remaining);
  }
}

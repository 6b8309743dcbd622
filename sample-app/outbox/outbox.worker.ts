import { Injectable, Logger, type OnModuleDestroy, ServiceUnavailableException } from '@nestjs/common';
import { type Bucket, BucketService } from 'nest-rate-limit';
import { MailServer } from './mail-server.js';

const MOST_WAITING = 20;

/**
 * Sends mails one after the other, as fast as the mail server lets us. Its bucket is shared with the workers of all
 * other processes. The line is in memory here; a real one outlives its process.
 */
@Injectable()
export class OutboxWorker implements OnModuleDestroy {
  private readonly line: string[] = [];
  private readonly bucket: Bucket;
  private readonly closing = new AbortController();
  private working = false;

  constructor(
    buckets: BucketService,
    private readonly server: MailServer,
  ) {
    this.bucket = buckets.bucket('outbox', server.host);
  }

  get waiting(): number {
    return this.line.length;
  }

  add(to: string): void {
    if (this.line.length >= MOST_WAITING) throw new ServiceUnavailableException('The outbox is full');
    this.line.push(to);
    if (!this.working) void this.work();
  }

  private async work(): Promise<void> {
    const { signal } = this.closing;
    this.working = true;
    try {
      while (this.line.length > 0) {
        // `watch` takes nothing: another worker may have been faster, and then this one goes on waiting.
        do await this.bucket.watch(1, { signal });
        while (!(await this.bucket.tryConsume()));
        if (await this.server.send(this.line[0])) this.line.shift();
        // For the workers of all processes.
        else await this.bucket.block('3s');
      }
    } catch (error) {
      if (!signal.aborted) new Logger('Outbox').error(error);
    } finally {
      this.working = false;
    }
  }

  onModuleDestroy(): void {
    this.closing.abort();
  }
}

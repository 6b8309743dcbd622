import { Injectable, Logger, type OnModuleDestroy, ServiceUnavailableException } from '@nestjs/common';
import { type Bucket, BucketService } from 'nest-rate-limit';
import { MailServer } from './mail-server.js';

const MAX_QUEUE_LENGTH = 20;

/**
 * Sends mails one after the other, as fast as the mail server allows. The workers of all processes share one bucket.
 * The queue is in memory; a real application would persist it.
 */
@Injectable()
export class OutboxWorker implements OnModuleDestroy {
  private readonly queue: string[] = [];
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
    return this.queue.length;
  }

  add(to: string): void {
    if (this.queue.length >= MAX_QUEUE_LENGTH) throw new ServiceUnavailableException('The outbox is full');
    this.queue.push(to);
    if (!this.working) void this.work();
  }

  private async work(): Promise<void> {
    const { signal } = this.closing;
    this.working = true;
    try {
      while (this.queue.length > 0) {
        // `watch` takes no tokens. If another worker was faster, this one continues to wait.
        do await this.bucket.watch(1, { signal });
        while (!(await this.bucket.tryConsume()));
        if (await this.server.send(this.queue[0])) this.queue.shift();
        // Pauses the workers of all processes.
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

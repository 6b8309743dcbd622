import { afterEach } from '@jest/globals';
import type { LoggerService } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { BucketService, RateLimitModule, type RateLimitModuleOptions, RateLimitStore } from 'nest-rate-limit';

const opened: TestingModule[] = [];

/** The module without an application around it. Closed after each test. */
export async function openBuckets(
  options: RateLimitModuleOptions,
): Promise<{ buckets: BucketService; store: RateLimitStore; module: TestingModule }> {
  const module = await Test.createTestingModule({ imports: [RateLimitModule.forRoot(options)] })
    .setLogger(log as unknown as LoggerService)
    .compile();
  await module.init();
  opened.push(module);
  return { buckets: module.get(BucketService), store: module.get(RateLimitStore), module };
}

/** To be called once in a test file that uses `openBuckets`. */
export function closeBuckets(): void {
  afterEach(async () => {
    for (const module of opened.splice(0)) await module.close();
    log.lines.length = 0;
  });
}

/** Nest's log of this module: each line as `level: text`, newest last. */
class LogLines {
  readonly lines: string[] = [];
  readonly log = this.keep('log');
  readonly warn = this.keep('warn');
  readonly error = this.keep('error');

  private keep(level: string) {
    return (message: unknown, ...rest: unknown[]): void => {
      if (rest.at(-1) === 'RateLimit') this.lines.push(`${level}: ${message}`);
    };
  }
}

export const log = new LogLines();

import { afterEach } from '@jest/globals';
import type { LoggerService } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { BucketService, RateLimitModule, type RateLimitModuleOptions, RateLimitStore } from 'nest-rate-limit';

const opened: TestingModule[] = [];

/** Opens the module without an application. `closeBuckets` closes it after each test. */
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

/** Closes the opened modules and clears the log after each test. Call once per test file that uses `openBuckets`. */
export function closeBuckets(): void {
  afterEach(async () => {
    for (const module of opened.splice(0)) await module.close();
    log.lines.length = 0;
  });
}

/** Collects the log lines of the module as `level: message`, newest last. */
class LogLines {
  readonly lines: string[] = [];
  readonly log = this.collect('log');
  readonly warn = this.collect('warn');
  readonly error = this.collect('error');

  private collect(level: string) {
    return (message: unknown, ...rest: unknown[]): void => {
      if (rest.at(-1) === 'RateLimit') this.lines.push(`${level}: ${message}`);
    };
  }
}

export const log = new LogLines();

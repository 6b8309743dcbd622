import { describe, expect, it } from '@jest/globals';
import { Injectable } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  BucketService,
  MemoryStore,
  RateLimit,
  RateLimitExceededException,
  RateLimitModule,
  RateLimitUnavailableException,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';

@Injectable()
class Jobs {
  readonly ends: ((error?: Error) => void)[] = [];

  @RateLimit({ name: 'jobs', concurrency: 2, maxWait: '10s' })
  async run(id: number): Promise<number> {
    await new Promise<void>((resolve, reject) => this.ends.push((error) => (error ? reject(error) : resolve())));
    return id;
  }

  @RateLimit({ name: 'jobs', concurrency: 2 })
  async runNow(): Promise<void> {}
}

async function start() {
  const clock = new FakeClock();
  const imports = [RateLimitModule.forRoot({ store: new MemoryStore({ clock }) })];
  const app = await Test.createTestingModule({ imports, providers: [Jobs] }).compile();
  await app.init();
  const bucket = app.get(BucketService).bucket({ name: 'jobs', concurrency: 2 }, 'all');
  return { app, clock, jobs: app.get(Jobs), bucket };
}

describe('calls of a method with a concurrency limit', () => {
  it('run only so many at once, and wait in the order of their arrival', async () => {
    const { app, clock, jobs, bucket } = await start();
    const all = [1, 2, 3, 4].map((id) => jobs.run(id));
    await clock.advance(0);
    expect(jobs.ends).toHaveLength(2);
    await expect(jobs.runNow()).rejects.toThrow(RateLimitExceededException);
    jobs.ends.shift()?.();
    await clock.advance(0);
    expect(await all[0]).toBe(1);
    expect(jobs.ends).toHaveLength(2);
    jobs.ends[0]();
    jobs.ends[1]();
    await clock.advance(0);
    jobs.ends[2]();
    expect(await Promise.all(all)).toEqual([1, 2, 3, 4]);
    expect(await bucket.available()).toBe(2);
    await app.close();
  });

  it('release their slot when they fail', async () => {
    const { app, clock, jobs, bucket } = await start();
    const call = jobs.run(1);
    await clock.advance(0);
    jobs.ends[0](new Error('failed'));
    await expect(call).rejects.toThrow('failed');
    expect(await bucket.available()).toBe(2);
    await app.close();
  });

  it('are denied when they have waited for `maxWait`', async () => {
    const { app, clock, jobs } = await start();
    const running = [jobs.run(1), jobs.run(2)];
    const denied = expect(jobs.run(3)).rejects.toThrow(RateLimitExceededException);
    await clock.advance(10_000);
    await denied;
    for (const end of jobs.ends) end();
    await Promise.all(running);
    await app.close();
  });

  it('that wait are rejected when the application closes, and running ones keep their slots', async () => {
    const { app, clock, jobs, bucket } = await start();
    const running = [jobs.run(1), jobs.run(2)];
    const rejected = expect(jobs.run(3)).rejects.toThrow(RateLimitUnavailableException);
    await clock.advance(0);
    await app.close();
    await rejected;
    expect(await bucket.available()).toBe(0);
    for (const end of jobs.ends) end();
    await Promise.all(running);
    expect(await bucket.available()).toBe(2);
  });
});

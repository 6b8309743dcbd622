import { beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Controller, Get, Logger } from '@nestjs/common';
import { RateLimit, RateLimitModule } from 'nest-rate-limit';
import { RejectionLog } from '../../src/observe/rejection-log.js';
import { createApp } from '../support/create-app.js';
import { statuses } from '../support/requests.js';

describe('RejectionLog', () => {
  let lines: string[];
  let timers: (() => void)[];
  let log: RejectionLog;
  beforeEach(() => {
    lines = [];
    timers = [];
    log = new RejectionLog(
      (line) => lines.push(line),
      (ms, run) => {
        expect(ms).toBe(60_000);
        timers.push(run);
      },
    );
  });
  /** Fires the pending timers, and returns the lines logged since. */
  const minute = () => {
    for (const run of timers.splice(0)) run();
    return lines.splice(0);
  };

  it('logs the first rejection immediately, then the number of rejections once a minute', () => {
    for (let i = 0; i < 1001; i++) log.note('sms');
    expect(lines.splice(0)).toEqual(['Policy sms rejected a request']);
    expect(minute()).toEqual(['Policy sms rejected 1000 more requests within a minute']);
    log.note('sms');
    expect(lines).toEqual([]);
    expect(minute()).toEqual(['Policy sms rejected 1 more request within a minute']);
    expect(minute()).toEqual([]);
    expect(timers).toEqual([]);
    log.note('sms');
    expect(lines).toEqual(['Policy sms rejected a request']);
  });

  it('counts each policy separately, up to 100 policies', () => {
    for (let i = 0; i < 150; i++) log.note(`tenant-${i}`);
    expect(lines).toHaveLength(101);
    expect(lines.at(-1)).toBe('Policy (others) rejected a request');
    expect(minute()).toContain('Policy (others) rejected 49 more requests within a minute');
  });

  it('logs the pending counts when the application closes', () => {
    for (let i = 0; i < 3; i++) log.note('dry', true);
    log.close();
    expect(lines.splice(0)).toEqual([
      '[dry run] Policy dry would have rejected a request',
      '[dry run] Policy dry would have rejected 2 more requests within a minute',
    ]);
    expect(minute()).toEqual([]);
  });
});

it('logs rejections of the guard, without the client key', async () => {
  @Controller()
  class Resource {
    @RateLimit({ capacity: 1, refill: 1, unit: 'hour' })
    @Get('limited')
    limited() {}

    @RateLimit({ capacity: 1, refill: 1, unit: 'hour', dryRun: true })
    @Get('dry')
    dry() {}
  }
  const write = jest.spyOn(Logger.prototype, 'log').mockImplementation(() => {});
  const app = await createApp('express', { imports: [RateLimitModule.forRoot()], controllers: [Resource] });
  try {
    const paths = ['/limited', '/dry'].flatMap((path) => [path, path, path, path]);
    expect(await statuses(app, ...paths)).toEqual([200, 429, 429, 429, 200, 200, 200, 200]);
    await app.close();
    expect(write.mock.calls.map(([line]) => line).filter((line) => /^(\[dry run\] )?Policy/.test(line))).toEqual([
      'Policy Resource.limited rejected a request',
      '[dry run] Policy Resource.dry would have rejected a request',
      'Policy Resource.limited rejected 2 more requests within a minute',
      '[dry run] Policy Resource.dry would have rejected 2 more requests within a minute',
    ]);
  } finally {
    write.mockRestore();
    await app.close();
  }
});

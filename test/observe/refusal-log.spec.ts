import { beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Controller, Get, Logger } from '@nestjs/common';
import { RateLimit, RateLimitModule } from 'nest-rate-limit';
import { RefusalLog } from '../../src/observe/refusal-log.js';
import { createApp } from '../support/create-app.js';
import { statuses } from '../support/requests.js';

describe('the log of refusals', () => {
  let lines: string[];
  let timers: (() => void)[];
  let log: RefusalLog;
  beforeEach(() => {
    lines = [];
    timers = [];
    log = new RefusalLog(
      (line) => lines.push(line),
      (ms, run) => {
        expect(ms).toBe(60_000);
        timers.push(run);
      },
    );
  });
  const minute = () => {
    for (const run of timers.splice(0)) run();
    return lines.splice(0);
  };

  it('tells the first one at once, and then once a minute how many there were', () => {
    for (let i = 0; i < 1001; i++) log.note('sms');
    expect(lines.splice(0)).toEqual(['Policy sms refused a request']);
    expect(minute()).toEqual(['Policy sms refused 1000 more requests within a minute']);
    log.note('sms');
    expect(lines).toEqual([]);
    expect(minute()).toEqual(['Policy sms refused 1 more request within a minute']);
    expect(minute()).toEqual([]);
    expect(timers).toEqual([]);
    log.note('sms');
    expect(lines).toEqual(['Policy sms refused a request']);
  });

  it('tells policies apart, up to a hundred of them', () => {
    for (let i = 0; i < 150; i++) log.note(`tenant-${i}`);
    expect(lines).toHaveLength(101);
    expect(lines.at(-1)).toBe('Policy (others) refused a request');
    expect(minute()).toContain('Policy (others) refused 49 more requests within a minute');
  });

  it('leaves nothing untold when the application closes', () => {
    for (let i = 0; i < 3; i++) log.note('trial', true);
    log.close();
    expect(lines.splice(0)).toEqual([
      'Policy trial, which is on trial, would have refused a request',
      'Policy trial, which is on trial, would have refused 2 more requests within a minute',
    ]);
    expect(minute()).toEqual([]);
  });
});

it('is written by the guard, without the client', async () => {
  @Controller()
  class Resource {
    @RateLimit({ capacity: 1, refill: 1, unit: 'hour' })
    @Get('limited')
    limited() {}

    @RateLimit({ capacity: 1, refill: 1, unit: 'hour', dryRun: true })
    @Get('trial')
    trial() {}
  }
  const write = jest.spyOn(Logger.prototype, 'log').mockImplementation(() => {});
  const app = await createApp('express', { imports: [RateLimitModule.forRoot()], controllers: [Resource] });
  try {
    const paths = ['/limited', '/trial'].flatMap((path) => [path, path, path, path]);
    expect(await statuses(app, ...paths)).toEqual([200, 429, 429, 429, 200, 200, 200, 200]);
    await app.close();
    expect(write.mock.calls.map(([line]) => line).filter((line) => /^Policy/.test(line))).toEqual([
      'Policy Resource.limited refused a request',
      'Policy Resource.trial, which is on trial, would have refused a request',
      'Policy Resource.limited refused 2 more requests within a minute',
      'Policy Resource.trial, which is on trial, would have refused 2 more requests within a minute',
    ]);
  } finally {
    write.mockRestore();
    await app.close();
  }
});

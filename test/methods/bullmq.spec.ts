import { afterEach, describe, expect, it } from '@jest/globals';
import { BullModule, getQueueToken, Processor, WorkerHost } from '@nestjs/bullmq';
import type { ExecutionContext, INestApplicationContext } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { DelayedError, type Job, type Queue, QueueEvents } from 'bullmq';
import { type Decision, RateLimit, RateLimitModule } from 'nest-rate-limit';
import { storeOptions } from '../support/create-app.js';
import { redisUrl } from '../support/redis.js';

const LIMIT = {
  capacity: 1,
  refill: 10,
  key: (context: ExecutionContext) => context.getArgByIndex<Job>(0).data.tenant,
} as const;

/** How many calls were denied. */
let denials = 0;

async function delay(context: ExecutionContext, { retryAfter }: Decision): Promise<never> {
  denials++;
  const [job, token] = context.getArgs<[Job, string]>();
  await job.moveToDelayed(Date.now() + retryAfter, token);
  throw new DelayedError();
}

const done: string[] = [];

@Processor('mails', { concurrency: 10 })
class MailWorker extends WorkerHost {
  @RateLimit({ ...LIMIT, onLimited: delay })
  override async process(job: Job): Promise<string> {
    done.push(job.data.id);
    return `sent ${job.data.id}`;
  }
}

@Processor('failing', { concurrency: 10 })
class FailingWorker extends WorkerHost {
  @RateLimit({ ...LIMIT, refill: 1, unit: 'hours' })
  override async process(job: Job): Promise<string> {
    done.push(job.data.id);
    return `sent ${job.data.id}`;
  }
}

let app: INestApplicationContext | undefined;
let events: QueueEvents | undefined;

afterEach(async () => {
  await events?.close();
  await app?.close();
  done.length = 0;
  denials = 0;
});

async function start(worker: typeof MailWorker | typeof FailingWorker, name: string): Promise<Queue> {
  const { hostname: host, port, pathname } = new URL(redisUrl());
  const connection = { host, port: Number(port), db: Number(pathname.slice(1) || 0) };
  const prefix = `bull-${Math.random().toString(36).slice(2)}`;
  const imports = [
    RateLimitModule.forRoot(storeOptions('redis')),
    BullModule.forRoot({ connection, prefix }),
    BullModule.registerQueue({ name }),
  ];
  app = await (await Test.createTestingModule({ imports, providers: [worker] }).compile()).init();
  events = new QueueEvents(name, { connection, prefix });
  await events.waitUntilReady();
  return app.get<Queue>(getQueueToken(name));
}

describe('a limited worker of BullMQ', () => {
  it('delays jobs that are denied, and uses up none of their attempts', async () => {
    const queue = await start(MailWorker, 'mails');
    const jobs = await queue.addBulk(
      ['a1', 'a2', 'a3', 'a4', 'b1'].map((id) => ({
        name: 'mail',
        data: { id, tenant: id[0] },
        opts: { attempts: 1 },
      })),
    );
    const results = await Promise.all(jobs.map((job) => job.waitUntilFinished(events as QueueEvents)));
    expect(results).toEqual(['sent a1', 'sent a2', 'sent a3', 'sent a4', 'sent b1']);
    expect([...done].sort()).toEqual(['a1', 'a2', 'a3', 'a4', 'b1']);
    expect(denials).toBeGreaterThanOrEqual(1);
    for (const { id } of jobs) {
      const { attemptsMade, failedReason } = (await queue.getJob(id as string)) as Job;
      expect({ attemptsMade, failedReason }).toEqual({ attemptsMade: 1, failedReason: undefined });
    }
  });

  it('fails a denied job without a recipe, with the message of the rejection', async () => {
    const queue = await start(FailingWorker, 'failing');
    const jobs = await queue.addBulk(
      ['a1', 'a2', 'b1'].map((id) => ({ name: 'mail', data: { id, tenant: id[0] }, opts: { attempts: 1 } })),
    );
    const ended = await Promise.allSettled(jobs.map((job) => job.waitUntilFinished(events as QueueEvents)));
    expect(ended.filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
    const [failed] = await queue.getFailed();
    expect(failed.failedReason).toBe('Too Many Requests');
  });
});

import { describe, expect, it, jest } from '@jest/globals';
import { Injectable, Logger, type ModuleMetadata } from '@nestjs/common';
import { CommandBus, CommandHandler, CqrsModule, EventsHandler, QueryBus, QueryHandler } from '@nestjs/cqrs';
import { EventEmitter2, EventEmitterModule, OnEvent } from '@nestjs/event-emitter';
import { Cron, Interval, ScheduleModule, SchedulerRegistry } from '@nestjs/schedule';
import { Test } from '@nestjs/testing';
import { MemoryStore, RateLimit, RateLimitExceededException, RateLimitModule } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';

const ONE = { maxRequest: 1, unit: 'hour' } as const;

/** Starts an application, and counts the errors that it logs. */
async function start(metadata: ModuleMetadata) {
  const errors = jest.fn();
  const logger = { log() {}, warn() {}, error: errors };
  const clock = new FakeClock();
  const imports = [RateLimitModule.forRoot({ store: new MemoryStore({ clock }) }), ...(metadata.imports ?? [])];
  const module = await Test.createTestingModule({ ...metadata, imports })
    .setLogger(logger)
    .compile();
  const app = await module.init();
  Logger.overrideLogger(logger);
  return { app, clock, errors };
}

describe('@nestjs/schedule', () => {
  @Injectable()
  class Jobs {
    runs: string[] = [];

    @RateLimit({ ...ONE, onLimited: () => 'skipped' })
    @Cron('0 0 1 1 *', { name: 'above' })
    async above() {
      this.runs.push('above');
    }

    @Cron('0 0 1 1 *', { name: 'below' })
    @RateLimit(ONE)
    async below() {
      this.runs.push('below');
    }

    @RateLimit(ONE)
    @Interval('interval', 10)
    async often() {
      this.runs.push('often');
    }
  }

  it('runs limited jobs, whatever the order of the decorators', async () => {
    const { app, errors } = await start({ imports: [ScheduleModule.forRoot()], providers: [Jobs] });
    const registry = app.get(SchedulerRegistry);
    registry.deleteInterval('interval');
    const jobs = app.get(Jobs);
    jobs.runs = [];
    for (const name of ['above', 'above', 'below']) await registry.getCronJob(name).fireOnTick();
    expect(jobs.runs).toEqual(['above', 'below']);
    expect(errors).not.toHaveBeenCalled();
    // Without `onLimited`, the scheduler logs the error.
    await registry.getCronJob('below').fireOnTick();
    expect(jobs.runs).toHaveLength(2);
    expect(errors).toHaveBeenCalledTimes(1);
    await app.close();
  });

  it('limits a job that its timer runs', async () => {
    const { app, errors } = await start({ imports: [ScheduleModule.forRoot()], providers: [Jobs] });
    const { runs } = app.get(Jobs);
    // Each denied run is logged as an error.
    while (errors.mock.calls.length < 3) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(runs).toEqual(['often']);
    await app.close();
  });
});

describe('@nestjs/event-emitter', () => {
  @Injectable()
  class Listener {
    readonly heard: number[] = [];

    @RateLimit({ capacity: 1, refill: 1, maxWait: Infinity })
    @OnEvent('queued')
    async queued(id: number) {
      this.heard.push(id);
    }

    @RateLimit({ ...ONE, onLimited: () => 'dropped' })
    @OnEvent('dropped')
    async dropped(id: number) {
      this.heard.push(id);
    }

    @OnEvent('logged')
    @RateLimit(ONE)
    async logged(id: number) {
      this.heard.push(id);
    }
  }

  it('queues, drops or logs events that are too many', async () => {
    const { app, clock, errors } = await start({ imports: [EventEmitterModule.forRoot()], providers: [Listener] });
    const { heard } = app.get(Listener);
    const emitter = app.get(EventEmitter2);
    for (const id of [0, 1, 2]) emitter.emit('queued', id);
    await clock.advance(2000);
    expect(heard).toEqual([0, 1, 2]);
    for (const id of [3, 4]) await emitter.emitAsync('dropped', id);
    expect(heard).toEqual([0, 1, 2, 3]);
    expect(errors).not.toHaveBeenCalled();
    for (const id of [5, 6]) await emitter.emitAsync('logged', id);
    expect(heard).toEqual([0, 1, 2, 3, 5]);
    expect(errors).toHaveBeenCalledTimes(1);
    await app.close();
  });
});

describe('@nestjs/cqrs', () => {
  class Charge {
    constructor(readonly account: string) {}
  }
  class Balance {}

  @CommandHandler(Charge)
  class ChargeHandler {
    @RateLimit({ ...ONE, key: (context) => context.getArgByIndex<Charge>(0).account })
    async execute({ account }: Charge) {
      return `charged ${account}`;
    }
  }

  @QueryHandler(Balance)
  class BalanceHandler {
    @RateLimit(ONE)
    async execute(_query: Balance) {
      return 10;
    }
  }

  it('limits commands by a key of their own, and queries', async () => {
    const providers = [ChargeHandler, BalanceHandler];
    const { app } = await start({ imports: [CqrsModule.forRoot()], providers });
    const commands = app.get(CommandBus);
    expect(await commands.execute(new Charge('a'))).toBe('charged a');
    expect(await commands.execute(new Charge('b'))).toBe('charged b');
    await expect(commands.execute(new Charge('a'))).rejects.toThrow(RateLimitExceededException);
    const queries = app.get(QueryBus);
    expect(await queries.execute(new Balance())).toBe(10);
    await expect(queries.execute(new Balance())).rejects.toThrow(RateLimitExceededException);
    await app.close();
  });

  it('stops the start for a limit on the class of a handler', async () => {
    class Created {}
    @RateLimit(ONE)
    @EventsHandler(Created)
    class CreatedHandler {
      async handle(_event: Created) {}
    }
    await expect(start({ imports: [CqrsModule.forRoot()], providers: [CreatedHandler] })).rejects.toThrow(
      'Invalid @RateLimit on CreatedHandler: on a class it limits the handlers of a controller',
    );
  });
});

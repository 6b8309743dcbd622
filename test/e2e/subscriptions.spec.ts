import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type CallHandler, type INestApplication, UseInterceptors } from '@nestjs/common';
import { Int, Query, Resolver, Subscription } from '@nestjs/graphql';
import { type Bucket, BucketService, type Outcome, RateLimit, RateLimitModule, ReportCost } from 'nest-rate-limit';
import { take } from 'rxjs';
import { createApp } from '../support/create-app.js';
import { adapterOf, graphqlModule, SERVERS, subscribe, subscriber } from '../support/graphql.js';
import { until } from '../support/requests.js';

const SLOTS = { name: 'slots', concurrency: 2 } as const;
const BUDGET = { name: 'budget', capacity: 1000, refill: 0 } as const;
const outcomes: Outcome[] = [];
/** Lets the iterators that wait continue. */
let proceed: (() => void)[] = [];
const wait = () => new Promise<void>((resolve) => proceed.push(resolve));
const proceedAll = () => {
  for (const each of proceed.splice(0)) each();
};

/** An iterator that is no generator, as those of publishers: it ends at once when the client leaves. */
class Published implements AsyncIterableIterator<object> {
  private count = 0;
  private leave: (result: IteratorReturnResult<undefined>) => void = () => {};

  constructor(private readonly name: string) {}

  next(): Promise<IteratorResult<object>> {
    if (this.count++ === 0) return Promise.resolve({ done: false, value: { [this.name]: 1 } });
    return new Promise((resolve) => {
      this.leave = resolve;
    });
  }

  async return() {
    const result = { done: true, value: undefined } as const;
    this.leave(result);
    return result;
  }

  [Symbol.asyncIterator]() {
    return this;
  }
}

@Resolver()
class Subscriptions {
  @Query(() => Int)
  ok() {
    return 1;
  }

  @RateLimit({ ...SLOTS, key: 'all' })
  @Subscription(() => Int)
  async *generated() {
    yield { generated: 1 };
    await wait();
    yield { generated: 2 };
  }

  @RateLimit({ ...SLOTS, key: 'all' })
  @Subscription(() => Int)
  published() {
    return new Published('published');
  }

  @RateLimit({ ...SLOTS, key: 'all' })
  @Subscription(() => Int, { filter: () => true })
  filtered() {
    return new Published('filtered');
  }

  @RateLimit({ ...SLOTS, key: 'all' })
  @Subscription(() => Int)
  async *failing() {
    yield { failing: 1 };
    await wait();
    throw new Error('failed');
  }

  @RateLimit({ ...SLOTS, key: 'all' })
  @Subscription(() => Int)
  nothing() {
    throw new Error('nothing to iterate');
  }

  @RateLimit({ ...BUDGET, key: 'all', cost: 100 })
  @Subscription(() => Int)
  async *reporting(@ReportCost() report: ReportCost) {
    report(30);
    yield { reporting: 1 };
    await wait();
    report(50);
    yield { reporting: 2 };
  }

  @RateLimit({ ...BUDGET, key: 'all', cost: 100, settle: (_context, outcome) => outcomes.push(outcome) })
  @UseInterceptors({ intercept: (_context: unknown, next: CallHandler) => next.handle().pipe(take(1)) })
  @Subscription(() => Int)
  async *takenOnce() {
    yield { takenOnce: 1 };
    await wait();
    yield { takenOnce: 2 };
  }

  @RateLimit({ ...BUDGET, key: 'all', cost: 100, settle: (_context, outcome) => outcomes.push(outcome) })
  @Subscription(() => Int)
  async *settled() {
    yield { settled: 1 };
    await wait();
    yield { settled: 2 };
  }

  @RateLimit({ ...BUDGET, key: 'all', cost: 100, settle: (_context, outcome) => outcomes.push(outcome) })
  @Subscription(() => Int)
  async *settledFailure() {
    await wait();
    throw new Error('failed');
  }
}

describe.each(SERVERS)('Subscriptions with %s', (server) => {
  let app: INestApplication;
  let slots: Bucket;
  let budget: Bucket;
  beforeEach(async () => {
    proceed = [];
    outcomes.length = 0;
    const imports = [RateLimitModule.forRoot(), graphqlModule(server)];
    app = await createApp(adapterOf(server), { imports, providers: [Subscriptions] });
    await app.listen(0, '127.0.0.1');
    slots = app.get(BucketService).bucket(SLOTS, 'all');
    budget = app.get(BucketService).bucket(BUDGET, 'all');
  });
  afterEach(async () => {
    proceedAll();
    await app.close();
  });
  const freeIs = (count: number) => until(async () => (await slots.available()) === count);
  const availableIs = (tokens: number) => until(async () => (await budget.available()) === tokens);

  /** Subscribes, and resolves with how to leave once the first value has arrived. */
  const begin = async (name: string, client = subscriber(app)) => {
    const values: unknown[] = [];
    let leave = () => {};
    await new Promise<void>((resolve) => {
      const sink = {
        next: (result: unknown) => {
          values.push(result);
          resolve();
        },
        error: () => resolve(),
        complete: () => resolve(),
      };
      leave = client.subscribe({ query: `subscription { ${name} }` }, sink);
    });
    return { leave, terminate: () => client.terminate(), dispose: () => client.dispose(), values };
  };

  it.each(['generated', 'published', 'filtered', 'failing'])('hold a slot while they last: %s', async (name) => {
    const first = await begin(name);
    await freeIs(1);
    const second = await begin(name);
    await freeIs(0);
    const client = subscriber(app);
    expect(await subscribe(client, `subscription { ${name} }`)).toEqual([
      expect.objectContaining({ errors: [expect.objectContaining({ message: expect.stringContaining('Too Many') })] }),
    ]);
    // Mercurius keeps iterators with a filter until their next value, or until the connection is lost.
    const way = server === 'Mercurius' && name === 'filtered' ? 'terminate' : 'leave';
    first[way]();
    second[way]();
    proceedAll();
    await freeIs(2);
    for (const each of [first, second, client]) await each.dispose();
  });

  it.each(['generated', 'published', 'filtered', 'failing'])(
    'release their slots when the connection is lost: %s',
    async (name) => {
      const first = await begin(name);
      const second = await begin(name);
      await freeIs(0);
      first.terminate();
      second.terminate();
      proceedAll();
      await freeIs(2);
    },
  );

  it.each(['generated', 'failing'])('release their slots when they end by themselves: %s', async (name) => {
    const first = await begin(name);
    await freeIs(1);
    proceedAll();
    await freeIs(2);
    await first.dispose();
  });

  it('release their slots if there is nothing to iterate', async () => {
    const client = subscriber(app);
    for (let i = 0; i < 3; i++) await subscribe(client, 'subscription { nothing }');
    await freeIs(2);
    await client.dispose();
  });

  it('are settled with the reported cost when they end', async () => {
    const first = await begin('reporting');
    await availableIs(900);
    proceedAll();
    await availableIs(950);
    await first.dispose();
  });

  it.each(['leave', 'terminate'] as const)(
    'are settled with the cost that was reported before a client left: %s',
    async (way) => {
      const first = await begin('reporting');
      await availableIs(900);
      first[way]();
      if (way === 'leave') proceedAll();
      await availableIs(way === 'leave' ? 950 : 970);
      await first.dispose();
    },
  );

  it.each(['settled', 'takenOnce'])('are settled with their last value: %s', async (name) => {
    const first = await begin(name);
    proceedAll();
    await until(() => outcomes.length === 1);
    expect(outcomes).toEqual([{ value: { [name]: 2 }, status: 200, durationMs: expect.any(Number) }]);
    await first.dispose();
  });

  it('are settled with their error', async () => {
    const client = subscriber(app);
    const failing = subscribe(client, 'subscription { settledFailure }');
    await until(() => proceed.length === 1);
    proceedAll();
    await failing;
    await until(() => outcomes.length === 1);
    expect(outcomes).toEqual([{ error: new Error('failed'), status: 500, durationMs: expect.any(Number) }]);
    await client.dispose();
  });
});

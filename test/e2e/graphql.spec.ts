import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { ApolloDriverConfig } from '@nestjs/apollo';
import { type INestApplication, Logger, UseGuards } from '@nestjs/common';
import { Args, Mutation, Query, Resolver, Subscription } from '@nestjs/graphql';
import {
  BucketService,
  byHeader,
  MemoryStore,
  RateLimit,
  RateLimitGuard,
  RateLimitModule,
  type RateLimitModuleOptions,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { parseList } from 'structured-headers';
import { BrokenStore } from '../support/broken-store.js';
import { createApp } from '../support/create-app.js';
import {
  adapterOf,
  type ExecutionResult,
  graphqlModule,
  query,
  SERVERS,
  send,
  subscribe,
  subscriber,
} from '../support/graphql.js';
import { until } from '../support/requests.js';

const TWO = { maxRequest: 2, unit: 'minute' } as const;
const runs: string[] = [];

async function* twoNumbers(name: string) {
  runs.push(name);
  for (const n of [1, 2]) yield { [name]: n };
}

@Resolver()
class Things {
  @Query(() => String)
  free() {
    return 'free';
  }

  @RateLimit(TWO)
  @Query(() => String)
  limited() {
    runs.push('limited');
    return 'Hello Limited World';
  }

  @UseGuards(RateLimitGuard)
  @RateLimit({ capacity: 5, refill: 1, name: 'other' })
  @Query(() => String, { nullable: true })
  other() {
    return 'other';
  }

  @RateLimit({ ...TWO, key: byHeader('x-api-key') })
  @Query(() => String)
  keyed() {
    return 'keyed';
  }

  @RateLimit({ ...TWO, key: 'all' })
  @Mutation(() => String)
  change(@Args('to') to: string) {
    runs.push('change');
    return to;
  }

  @RateLimit(TWO)
  @Subscription(() => Number)
  numbers() {
    return twoNumbers('numbers');
  }

  @RateLimit(TWO)
  @Subscription(() => Number, { filter: () => true })
  filtered() {
    return twoNumbers('filtered');
  }

  @RateLimit({
    ...TWO,
    cost: () => 3,
    name: 'costly',
    key: 'all',
    message: () => ({ message: 'No', hint: 'never' }),
  })
  @Query(() => String)
  told() {
    return 'told';
  }

  @RateLimit({ capacity: 1, refill: 1, maxWait: '5s', name: 'line' })
  @Query(() => String)
  line() {
    runs.push('line');
    return 'line';
  }

  @RateLimit({ capacity: 5, refill: 1, unit: 'hour', name: 'settled', settle: 'failures' })
  @Query(() => String)
  settled(@Args('fails') fails: boolean) {
    if (fails) throw new Error('failed');
    return 'settled';
  }
}

function codes({ errors = [] }: ExecutionResult): unknown[] {
  return errors.map(({ extensions }) => extensions?.code);
}

let app: INestApplication;
let clock: FakeClock;
beforeEach(() => {
  runs.length = 0;
  clock = new FakeClock();
});
afterEach(() => app.close());

describe.each(SERVERS)('GraphQL on %s', (server) => {
  // Apollo removes `http` from responses over HTTP, and sets the status from it if Nest's driver allows that.
  const http = server === 'Mercurius' ? { http: { status: 429 } } : {};
  const start = async (options: RateLimitModuleOptions = {}, graphql: Partial<ApolloDriverConfig> = {}) => {
    app = await createApp(adapterOf(server), {
      imports: [
        RateLimitModule.forRoot({ store: new MemoryStore({ clock }), ...options }),
        graphqlModule(server, graphql),
      ],
      providers: [Things],
    });
    await app.listen(0, '127.0.0.1');
  };

  it('rejects the third query of a client without limiting other clients', async () => {
    await start();
    for (let i = 0; i < 2; i++) {
      expect((await query(app, '{ limited }')).body).toEqual({ data: { limited: 'Hello Limited World' } });
    }
    const rejected = await query(app, '{ limited }');
    expect(rejected.body.errors).toEqual([
      expect.objectContaining({
        message: 'Too Many Requests',
        path: ['limited'],
        extensions: expect.objectContaining({
          code: 'TOO_MANY_REQUESTS',
          ...http,
          retryAfter: 60_000,
        }),
      }),
    ]);
    expect(runs).toHaveLength(2);
    expect((await query(app, '{ limited }', '127.0.0.2')).body.errors).toBeUndefined();
    expect((await query(app, '{ free }')).body).toEqual({ data: { free: 'free' } });
  });

  it('responds with status 429 if the server supports it', async () => {
    await start({}, { preserveHttpStatusForExecutionErrors: false });
    const { status } = await query(app, '{ told }');
    expect(status).toBe(server === 'Mercurius' ? 200 : 429);
  });

  it('reports that rate limiting is unavailable if the store fails', async () => {
    await start({ store: new BrokenStore(), failure: { mode: 'closed' } });
    const { body } = await query(app, '{ limited }');
    expect(body.errors?.[0]).toMatchObject({
      message: 'Rate limiting is temporarily unavailable',
      extensions: { code: 'SERVICE_UNAVAILABLE', retryAfter: 1000 },
    });
    expect(runs).toEqual([]);
  });

  it('reports a missing header, and logs nothing', async () => {
    const logged = jest.spyOn(Logger.prototype, 'error').mockImplementation(() => {});
    await start();
    const { body } = await query(app, '{ keyed }');
    expect(body.errors?.[0]).toMatchObject({ message: 'The header x-api-key is missing' });
    expect(logged).not.toHaveBeenCalled();
    logged.mockRestore();
  });

  it('rejects the third mutation, and counts each execution of a field', async () => {
    await start();
    const { body } = await query(app, 'mutation { a: change(to: "x") b: change(to: "y") c: change(to: "z") }');
    expect(codes(body)).toEqual(['TOO_MANY_REQUESTS']);
    expect(body.errors?.[0].path).toEqual(['c']);
    expect(runs).toEqual(['change', 'change']);
  });

  it('counts a query once if the guard is bound twice', async () => {
    await start();
    expect((await query(app, '{ other }')).body).toEqual({ data: { other: 'other' } });
    const policy = { capacity: 5, refill: 1, name: 'other' };
    expect(await app.get(BucketService).bucket(policy, '127.0.0.1').available()).toBe(4);
  });

  it.each(['numbers', 'filtered'])(
    'rejects the third subscription of a client without limiting other clients: %s',
    async (name) => {
      await start();
      const text = `subscription { ${name} }`;
      const first = subscriber(app);
      const second = subscriber(app, '127.0.0.2');
      const both = [{ data: { [name]: 1 } }, { data: { [name]: 2 } }];
      expect(await subscribe(first, text)).toEqual(both);
      expect(await subscribe(first, text)).toEqual(both);
      expect(await subscribe(first, text)).toEqual([
        {
          errors: [
            expect.objectContaining({
              message: 'Too Many Requests',
              extensions: { code: 'TOO_MANY_REQUESTS', http: { status: 429 }, retryAfter: 60_000 },
            }),
          ],
        },
      ]);
      expect(runs).toEqual([name, name]);
      expect(await subscribe(second, text)).toEqual(both);
      await Promise.all([first.dispose(), second.dispose()]);
    },
  );

  it('sends the message of the policy, and omits retryAfter if no retry can succeed', async () => {
    await start();
    const { body } = await query(app, '{ told }');
    expect(body.errors?.[0].message).toBe('No');
    const { stacktrace, ...extensions } = body.errors?.[0].extensions ?? {};
    expect(extensions).toEqual({ code: 'TOO_MANY_REQUESTS', ...http, hint: 'never' });
  });

  it('queues requests, and cancels a reservation when the client disconnects', async () => {
    await start();
    const left = () => app.get(BucketService).bucket({ capacity: 1, refill: 1, name: 'line' }, '127.0.0.1').available();
    expect((await query(app, '{ line }')).body.errors).toBeUndefined();
    const aborted = send(app, '{ line }').on('error', () => {});
    await until(async () => (await left()) === -1);
    aborted.destroy();
    await until(async () => (await left()) === 0);
    const queued = query(app, '{ line }');
    await until(async () => (await left()) === -1);
    expect(runs).toHaveLength(1);
    await clock.advance(1000);
    expect((await queued).body).toEqual({ data: { line: 'line' } });
    expect(runs).toHaveLength(2);
  });

  it('settles the cost of a field by its outcome', async () => {
    await start();
    const left = () =>
      app.get(BucketService).bucket({ capacity: 5, refill: 1, unit: 'hour', name: 'settled' }, '127.0.0.1').available();
    await query(app, '{ settled(fails: true) }');
    await query(app, '{ settled(fails: false) }');
    await until(async () => (await left()) === 4);
  });

  it('reports all limits of a response in the headers', async () => {
    const context = (req: object, reply: object) => ({ req, reply });
    await start({ headers: ['draft-11', 'legacy'] }, server === 'Apollo on Fastify' ? { context } : {});
    const allowed = await query(app, '{ limited other }');
    expect(allowed.headers['ratelimit-policy']).toBe('"Things.limited";q=2;w=60, "other";q=5;w=5');
    expect(allowed.headers.ratelimit).toBe('"Things.limited";r=1;t=60, "other";r=4;t=1');
    expect(allowed.headers['x-ratelimit-remaining']).toBe('1');
    const rejected = await query(app, '{ a: limited b: limited other }');
    expect(codes(rejected.body)).toEqual(['TOO_MANY_REQUESTS']);
    expect(parseList(String(rejected.headers.ratelimit))).toHaveLength(2);
    expect(rejected.headers['ratelimit-policy']).toBe(allowed.headers['ratelimit-policy']);
    expect(rejected.headers.ratelimit).toBe('"Things.limited";r=0;t=60, "other";r=3;t=1');
    expect(rejected.headers['retry-after']).toBe('60');
    const client = subscriber(app);
    const results = [];
    for (let i = 0; i < 3; i++) results.push(...(await subscribe(client, 'subscription { numbers }')));
    expect(results.flatMap(codes)).toEqual(['TOO_MANY_REQUESTS']);
    await client.dispose();
  });

  it('allows requests whose context has no client, and warns once', async () => {
    const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
    await start({}, { context: () => ({ req: {} }) });
    for (let i = 0; i < 4; i++) expect((await query(app, '{ limited }')).body.errors).toBeUndefined();
    expect(warn.mock.calls).toEqual([
      [
        'Policy Things.limited does not apply to requests without a client address: set its `key` to a function that identifies their sender',
      ],
    ]);
    warn.mockRestore();
  });
});

import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import {
  type ArgumentsHost,
  Catch,
  Controller,
  type ExceptionFilter,
  type ExecutionContext,
  Get,
  type INestApplication,
  Inject,
  Injectable,
  Module,
  Scope,
  type Type,
} from '@nestjs/common';
import { APP_FILTER, REQUEST } from '@nestjs/core';
import {
  BucketService,
  RateLimit,
  type RateLimitInput,
  RateLimitModule,
  type Resolver,
  SkipRateLimit,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { COMBINATIONS, createApp } from '../support/create-app.js';
import { clockedStore } from '../support/requests.js';

const FIVE = { capacity: 5, refill: 1, unit: 'hour' } as const;

function query(context: ExecutionContext, name: string): string | undefined {
  return context.switchToHttp().getRequest<{ query: Record<string, string | undefined> }>().query[name];
}

@Injectable()
class Tiers {
  readonly costs: Record<string, number> = { small: 1, large: 3, free: 0, huge: 6, wrong: -1, finest: 0.0001 };
}

@Injectable()
class KeyOfUser implements Resolver<string | undefined> {
  constructor(private readonly tiers: Tiers) {}
  resolve(context: ExecutionContext) {
    return this.tiers && query(context, 'user');
  }
}

@Injectable()
class CostOfTier implements Resolver<number> {
  constructor(private readonly tiers: Tiers) {}
  async resolve(context: ExecutionContext) {
    return this.tiers.costs[query(context, 'tier') ?? 'small'];
  }
}

@Injectable()
class SkipOfStaff implements Resolver<boolean> {
  constructor(private readonly tiers: Tiers) {}
  async resolve(context: ExecutionContext) {
    return this.tiers && query(context, 'staff') === 'yes';
  }
}

/** Nobody provides it: the module makes it. */
@Injectable()
class PolicyOfTier implements Resolver<string | typeof FIVE> {
  resolve(context: ExecutionContext) {
    return query(context, 'tier') === 'large' ? 'large' : FIVE;
  }
}

@Module({ providers: [Tiers, KeyOfUser, CostOfTier, SkipOfStaff], exports: [] })
class People {}

@Controller()
class Resource {
  @RateLimit({ ...FIVE, key: 'everybody' })
  @Get('constant')
  constant() {}

  @RateLimit({ ...FIVE, name: 'user', key: (context) => query(context, 'user') })
  @Get('function')
  function() {}

  @RateLimit({ ...FIVE, key: async (context) => query(context, 'user') ?? null })
  @Get('async')
  async() {}

  @RateLimit({ ...FIVE, key: KeyOfUser, cost: CostOfTier, skip: SkipOfStaff })
  @Get('injectable')
  injectable() {}

  @RateLimit({ ...FIVE, cost: 2.5 })
  @Get('fraction')
  fraction() {}

  @RateLimit({ ...FIVE, cost: 0 })
  @Get('no-cost')
  noCost() {}

  @RateLimit({ ...FIVE, name: 'beside' })
  @RateLimit({ ...FIVE, cost: (context) => Number(query(context, 'cost')) })
  @Get('cost')
  cost() {}

  @RateLimit({ maxRequest: 5, unit: 'hour', cost: (context) => Number(query(context, 'cost')) })
  @Get('window')
  window() {}

  @RateLimit({ ...FIVE, skip: async () => false })
  @Get('unskipped')
  unskipped() {}

  @RateLimit({ ...FIVE, name: 'beside', key: 'skip' })
  @RateLimit({ ...FIVE, skip: async (context) => query(context, 'staff') === 'yes' })
  @Get('skip')
  skip() {}

  @RateLimit({ ...FIVE, skip: true })
  @Get('always-skipped')
  alwaysSkipped() {}

  @RateLimit(PolicyOfTier)
  @Get('policy')
  policy() {}

  @RateLimit(async (context) =>
    query(context, 'wrong') ? (JSON.parse(query(context, 'wrong') ?? '') as 'large') : 'large',
  )
  @Get('async-policy')
  asyncPolicy() {}

  @RateLimit({ ...FIVE, name: 'before', key: 'throwing' })
  @RateLimit({
    ...FIVE,
    name: 'late',
    key: () => new Promise((_, reject) => setImmediate(reject, new Error('too late'))),
  })
  @RateLimit({
    ...FIVE,
    key: () => {
      throw new Error('no key today');
    },
  })
  @Get('throwing')
  throwing() {}

  @SkipRateLimit()
  @Get('skipped')
  skipped() {}
}

const seen: unknown[] = [];

@Catch()
class Seeing implements ExceptionFilter {
  catch(error: unknown, host: ArgumentsHost) {
    seen.push(error);
    const status = (error as { getStatus?: () => number }).getStatus?.() ?? 500;
    const response = host.switchToHttp().getResponse<{ status(code: number): { send(body: string): void } }>();
    response.status(status).send('');
  }
}

describe.each(COMBINATIONS)('$adapter, buckets in $store', ({ adapter, store }) => {
  let app: INestApplication;
  beforeAll(async () => {
    app = await createApp(adapter, {
      imports: [
        People,
        RateLimitModule.forRoot({
          ...clockedStore(store, new FakeClock()),
          policies: { large: { capacity: 100, refill: 1, unit: 'hour' } },
        }),
      ],
      controllers: [Resource],
      providers: [{ provide: APP_FILTER, useClass: Seeing }],
    });
  });
  beforeEach(() => {
    seen.length = 0;
  });
  afterAll(() => app.close());
  const get = async (path: string) => {
    const { status, headers } = await request(app.getHttpServer()).get(path);
    return [status, headers.ratelimit];
  };
  const left = (policy: object, key: string) => app.get(BucketService).bucket(policy, key).available();

  it('takes a constant key', async () => {
    expect(await get('/constant')).toEqual([200, '"Resource.constant";r=4;t=3600']);
    expect(await left({ ...FIVE, name: 'Resource.constant' }, 'everybody')).toBe(4);
  });

  it.each(['function', 'async', 'injectable'])('asks a key of the kind %s per request', async (path) => {
    const name = path === 'function' ? 'user' : `Resource.${path}`;
    expect(await get(`/${path}?user=ada`)).toEqual([200, `"${name}";r=4;t=3600`]);
    expect(await get(`/${path}?user=ada`)).toEqual([200, `"${name}";r=3;t=3600`]);
    expect(await get(`/${path}?user=bob`)).toEqual([200, `"${name}";r=4;t=3600`]);
  });

  it.each(['function', 'async', 'injectable'])(
    'fails where a key of the kind %s is missing or empty, and names the policy',
    async (path) => {
      const name = path === 'function' ? 'user' : `Resource.${path}`;
      const got = path === 'async' ? 'null' : 'undefined';
      expect(await get(`/${path}`)).toEqual([500, undefined]);
      expect(await get(`/${path}?user=`)).toEqual([500, undefined]);
      expect(seen.map(String)).toEqual(
        [got, '""'].map(
          (value) =>
            `RateLimitResolverError: The key of policy ${name} must be a text of at least one character, got ${value}`,
        ),
      );
    },
  );

  it('keeps keys apart that look alike or are hostile', async () => {
    const keys = [
      'a b',
      'a+b',
      '{a}',
      'a:b',
      '%0A',
      '__proto__',
      'constructor',
      '\u00e9',
      'e\u0301',
      'x'.repeat(10_000),
    ];
    for (const key of keys) {
      expect(await get(`/function?user=${encodeURIComponent(key)}`)).toEqual([200, '"user";r=4;t=3600']);
    }
  });

  it('takes a cost of fractions', async () => {
    expect(await get('/fraction')).toEqual([200, '"Resource.fraction";r=2;t=1800']);
    expect(await get('/fraction')).toEqual([200, '"Resource.fraction";r=0;t=3600']);
    expect(await get('/fraction')).toEqual([429, '"Resource.fraction";r=0;t=9000']);
  });

  it('asks an injectable for the cost, and skips the policy at a cost of 0', async () => {
    expect(await get('/injectable?user=eve&tier=large')).toEqual([200, '"Resource.injectable";r=2;t=3600']);
    expect(await get('/injectable?user=eve&tier=free')).toEqual([200, undefined]);
    expect(await get('/injectable?user=eve&tier=large')).toEqual([429, '"Resource.injectable";r=2;t=3600']);
    expect(await get('/injectable?user=eve&tier=small')).toEqual([200, '"Resource.injectable";r=1;t=3600']);
  });

  it('refuses for ever, without a time, what costs more than there can be', async () => {
    const { status, headers } = await request(app.getHttpServer()).get('/injectable?user=hal&tier=huge');
    expect(status).toBe(429);
    expect(headers.ratelimit).toBe('"Resource.injectable";r=5');
    expect(headers).not.toHaveProperty('retry-after');
  });

  it('needs no key where the cost is 0', async () => {
    expect(await get('/no-cost')).toEqual([200, undefined]);
    expect(await get('/injectable?tier=free')).toEqual([200, undefined]);
  });

  it.each(['-1', 'x', '0.0001', 'Infinity', '1e300'])(
    'fails at a cost of %s, names the policy and takes nothing',
    async (cost) => {
      expect(await get(`/cost?cost=${cost}`)).toEqual([500, undefined]);
      expect(String(seen[0])).toBe(
        `RateLimitResolverError: The cost of policy Resource.cost-2 must be a number from 0 up of at most three decimals, got ${Number(cost)}`,
      );
      expect(await left({ ...FIVE, name: 'beside' }, '127.0.0.1')).toBe(5);
    },
  );

  it('fails at a cost that is no whole number in a window', async () => {
    expect(await get('/window?cost=1.5')).toEqual([500, undefined]);
    expect(String(seen[0])).toBe(
      'RateLimitResolverError: The cost of policy Resource.window must be a whole number for a sliding window, which counts requests, got 1.5',
    );
    expect(await get('/window?cost=2')).toEqual([200, '"Resource.window";r=3;t=3600']);
  });

  it('does not skip when an async skip resolves to false', async () => {
    expect(await get('/unskipped')).toEqual([200, '"Resource.unskipped";r=4;t=3600']);
  });

  it('takes out only the policy that is skipped', async () => {
    expect(await get('/skip')).toEqual([200, '"beside";r=4;t=3600, "Resource.skip-2";r=4;t=3600']);
    expect(await get('/skip?staff=yes')).toEqual([200, '"beside";r=3;t=3600']);
    expect(await get('/injectable?staff=yes')).toEqual([200, undefined]);
    expect(await get('/always-skipped')).toEqual([200, undefined]);
  });

  it('asks an injectable for the policy, which nobody has to provide', async () => {
    expect(await get('/policy?tier=large')).toEqual([200, '"large";r=99;t=3600']);
    expect(await get('/policy')).toEqual([200, '"Resource.policy";r=4;t=3600']);
    expect(await get('/policy')).toEqual([200, '"Resource.policy";r=3;t=3600']);
  });

  it('names the place when a policy resolver answers nonsense', async () => {
    const wrong = ['"nobody"', 'null', '{"capacity":0,"refill":1}', '7'];
    for (const answer of wrong) {
      expect(await get(`/async-policy?wrong=${encodeURIComponent(answer)}`)).toEqual([500, undefined]);
    }
    const place = 'Invalid answer of the resolver of @RateLimit on Resource.asyncPolicy: ';
    expect(seen.map((error) => (error as Error).message)).toEqual([
      `${place}the policy must be one of those in \`policies\` (large), got "nobody"`,
      `${place}\`options\` must be an object, got null`,
      `${place}\`capacity\` must be a positive number, got 0`,
      `${place}\`options\` must be an object, got 7`,
    ]);
  });

  it('takes nothing when a resolver throws, and survives that another one rejects later', async () => {
    const unhandled: unknown[] = [];
    const note = (error: unknown) => unhandled.push(error);
    process.on('unhandledRejection', note);
    expect(await get('/throwing')).toEqual([500, undefined]);
    expect(String(seen[0])).toMatch(/no key today|too late/);
    await new Promise((resolve) => setTimeout(resolve, 5));
    process.off('unhandledRejection', note);
    expect(unhandled).toEqual([]);
    expect(await left({ ...FIVE, name: 'before' }, 'throwing')).toBe(5);
  });
});

describe('an injectable class', () => {
  class Unknown {}
  class Key implements Resolver<string> {
    resolve() {
      return 'key';
    }
  }
  @Injectable({ scope: Scope.REQUEST })
  class PerRequest extends Key {}
  @Injectable()
  class NeedsRequest extends Key {
    constructor(@Inject(REQUEST) readonly request: unknown) {
      super();
    }
  }
  @Injectable()
  class NeedsUnknown extends Key {
    constructor(readonly unknown: Unknown) {
      super();
    }
  }

  it.each([
    [PerRequest, 'PerRequest must not be request-scoped, nor need anything that is: it is made once'],
    [NeedsRequest, 'NeedsRequest must not be request-scoped, nor need anything that is: it is made once'],
    [NeedsUnknown, "NeedsUnknown must be a provider of a module, so that it can be asked: Nest can't resolve"],
  ])('that cannot be asked stops the start: %p', async (key, message) => {
    @Controller()
    class Asking {
      @RateLimit({ ...FIVE, key: key as Type<Resolver<string>> })
      @Get()
      get() {}
    }
    const providers = key === NeedsUnknown ? [] : [key];
    const start = createApp('express', { imports: [RateLimitModule.forRoot()], controllers: [Asking], providers });
    await expect(start).rejects.toThrow(message);
  });

  it('that is transient is asked as one instance', async () => {
    let made = 0;
    @Injectable({ scope: Scope.TRANSIENT })
    class Transient implements Resolver<string> {
      readonly key = `key ${++made}`;
      resolve() {
        return this.key;
      }
    }
    @Controller()
    class Asking {
      @RateLimit({ ...FIVE, key: Transient })
      @Get()
      get() {}
    }
    const imports = [RateLimitModule.forRoot()];
    const app = await createApp('express', { imports, controllers: [Asking], providers: [Transient] });
    for (const left of [4, 3]) {
      const { headers } = await request(app.getHttpServer()).get('/');
      expect(headers.ratelimit).toMatch(`"Asking.get";r=${left};`);
    }
    await app.close();
  });

  /** Can be awaited, but its `then` gives nothing back. */
  const awaitable = <T>(value: T) =>
    // biome-ignore lint/suspicious/noThenProperty: as some libraries' queries have it
    ({ then: (done: (value: T) => void) => void setImmediate(done, value) }) as unknown as Promise<T>;

  it.each<[string, RateLimitInput]>([
    ['key', { ...FIVE, key: () => awaitable('key') }],
    ['cost', { ...FIVE, key: 'key', cost: () => awaitable(1) }],
    ['skip', { ...FIVE, key: 'key', skip: () => awaitable(false) }],
    ['policy', () => awaitable({ ...FIVE, key: 'key' })],
  ])('that gives a %s which can be awaited, but is no promise, is waited for', async (_, limit) => {
    @Controller()
    class Asking {
      @RateLimit(limit)
      @Get()
      get() {}
    }
    const app = await createApp('express', { imports: [RateLimitModule.forRoot()], controllers: [Asking] });
    const { headers } = await request(app.getHttpServer()).get('/').expect(200);
    expect(headers.ratelimit).toMatch('"Asking.get";r=4;');
    await app.close();
  });
});

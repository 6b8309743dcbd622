import { afterAll, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
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
  Logger,
  Module,
  type Provider,
  Scope,
  type Type,
} from '@nestjs/common';
import { APP_FILTER, REQUEST } from '@nestjs/core';
import {
  BucketService,
  MemoryStore,
  RateLimit,
  type RateLimitInput,
  RateLimitModule,
  type RateLimitModuleOptions,
  RateLimitOptionError,
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
  readonly costs: Record<string, number> = { small: 1, large: 3, free: 0, huge: 6, wrong: -1 };
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

/** Not registered as a provider, so the module instantiates it. */
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

const errors: unknown[] = [];

@Catch()
class RecordingFilter implements ExceptionFilter {
  catch(error: unknown, host: ArgumentsHost) {
    errors.push(error);
    const status = (error as { getStatus?: () => number }).getStatus?.() ?? 500;
    const response = host.switchToHttp().getResponse<{ status(code: number): { send(body: string): void } }>();
    response.status(status).send('');
  }
}

describe.each(COMBINATIONS)('Per-request options on $adapter with the $store store', ({ adapter, store }) => {
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
      providers: [{ provide: APP_FILTER, useClass: RecordingFilter }],
    });
  });
  beforeEach(() => {
    errors.length = 0;
  });
  afterAll(() => app.close());
  const get = async (path: string) => {
    const { status, headers } = await request(app.getHttpServer()).get(path);
    return [status, headers.ratelimit];
  };
  const left = (policy: object, key: string) => app.get(BucketService).bucket(policy, key).available();

  it('accept a constant key', async () => {
    expect(await get('/constant')).toEqual([200, '"Resource.constant";r=4;t=3600']);
    expect(await left({ ...FIVE, name: 'Resource.constant' }, 'everybody')).toBe(4);
  });

  it.each(['function', 'async', 'injectable'])('resolve the key per request: %s', async (path) => {
    const name = path === 'function' ? 'user' : `Resource.${path}`;
    expect(await get(`/${path}?user=ada`)).toEqual([200, `"${name}";r=4;t=3600`]);
    expect(await get(`/${path}?user=ada`)).toEqual([200, `"${name}";r=3;t=3600`]);
    expect(await get(`/${path}?user=bob`)).toEqual([200, `"${name}";r=4;t=3600`]);
  });

  it.each(['function', 'async', 'injectable'])(
    'fail with the name of the policy if the key is missing or empty: %s',
    async (path) => {
      const name = path === 'function' ? 'user' : `Resource.${path}`;
      const got = path === 'async' ? 'null' : 'undefined';
      expect(await get(`/${path}`)).toEqual([500, undefined]);
      expect(await get(`/${path}?user=`)).toEqual([500, undefined]);
      expect(errors.map(String)).toEqual(
        [got, "''"].map(
          (value) => `RateLimitResolverError: The key of policy ${name} must be a non-empty string, got ${value}`,
        ),
      );
    },
  );

  it('keep similar and hostile keys separate', async () => {
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

  it('accept a fractional cost', async () => {
    expect(await get('/fraction')).toEqual([200, '"Resource.fraction";r=2;t=1800']);
    expect(await get('/fraction')).toEqual([200, '"Resource.fraction";r=0;t=3600']);
    expect(await get('/fraction')).toEqual([429, '"Resource.fraction";r=0;t=9000']);
  });

  it('resolve the cost with an injectable, and skip the policy at a cost of 0', async () => {
    expect(await get('/injectable?user=eve&tier=large')).toEqual([200, '"Resource.injectable";r=2;t=3600']);
    expect(await get('/injectable?user=eve&tier=free')).toEqual([200, undefined]);
    expect(await get('/injectable?user=eve&tier=large')).toEqual([429, '"Resource.injectable";r=2;t=3600']);
    expect(await get('/injectable?user=eve&tier=small')).toEqual([200, '"Resource.injectable";r=1;t=3600']);
  });

  it('reject a cost above the capacity without Retry-After', async () => {
    const { status, headers } = await request(app.getHttpServer()).get('/injectable?user=hal&tier=huge');
    expect(status).toBe(429);
    expect(headers.ratelimit).toBe('"Resource.injectable";r=5');
    expect(headers).not.toHaveProperty('retry-after');
  });

  it('require no key at a cost of 0', async () => {
    expect(await get('/no-cost')).toEqual([200, undefined]);
    expect(await get('/injectable?tier=free')).toEqual([200, undefined]);
  });

  it.each([
    ['-1', 'a number of at least 0'],
    ['x', 'a number of at least 0'],
    ['Infinity', 'at most 9007199254740.99'],
    ['1e300', 'at most 9007199254740.99'],
  ])('fail with the name of the policy at a cost of %s, and take nothing', async (cost, rule) => {
    expect(await get(`/cost?cost=${cost}`)).toEqual([500, undefined]);
    expect(String(errors[0])).toBe(
      `RateLimitResolverError: The cost of policy Resource.cost-2 must be ${rule}, got ${Number(cost)}`,
    );
    expect(await left({ ...FIVE, name: 'beside' }, '127.0.0.1')).toBe(5);
  });

  it.each([
    ['0.0001', 4.999],
    ['0.3333333333333333', 4.665],
    ['0.30000000000000004', 4.365],
    ['1.0010000000001', 3.364],
    ['1e-300', 3.363],
  ])('round a cost of %s up to a thousandth, in a sliding window, too', async (cost, remaining) => {
    expect(await get(`/window?cost=${cost}`)).toEqual([200, `"Resource.window";r=${Math.floor(remaining)};t=3600`]);
    const window = { maxRequest: 5, unit: 'hour', name: 'Resource.window' };
    expect(await left(window, '127.0.0.1')).toBe(remaining);
  });

  it('do not skip the policy if an async skip resolves to false', async () => {
    expect(await get('/unskipped')).toEqual([200, '"Resource.unskipped";r=4;t=3600']);
  });

  it('skip only the policy whose skip resolves to true', async () => {
    expect(await get('/skip')).toEqual([200, '"beside";r=4;t=3600, "Resource.skip-2";r=4;t=3600']);
    expect(await get('/skip?staff=yes')).toEqual([200, '"beside";r=3;t=3600']);
    expect(await get('/injectable?staff=yes')).toEqual([200, undefined]);
    expect(await get('/always-skipped')).toEqual([200, undefined]);
  });

  it('resolve the policy with an injectable that is not a provider', async () => {
    expect(await get('/policy?tier=large')).toEqual([200, '"large";r=99;t=3600']);
    expect(await get('/policy')).toEqual([200, '"Resource.policy";r=4;t=3600']);
    expect(await get('/policy')).toEqual([200, '"Resource.policy";r=3;t=3600']);
  });

  it('fail with the name of the handler if a policy resolver returns an invalid value', async () => {
    const values = [
      'missing',
      null,
      7,
      [{ maxRequest: 2 }, 'large'],
      { capacity: -1, refill: 1 },
      { maxRequest: '2' },
      { maxRequest: 'Infinity' },
      { limits: [{ maxRequest: 2.5 }] },
      { maxRequest: 2, id: 1, updatedAt: '2020-01-01' },
    ];
    for (const value of values) {
      const wrong = encodeURIComponent(JSON.stringify(value));
      expect(await get(`/async-policy?wrong=${wrong}`)).toEqual([500, undefined]);
    }
    const subject = 'The resolver of @RateLimit on Resource.asyncPolicy returned';
    const wrong = `${subject} invalid options:`;
    const messages = errors.map((error) => (error as Error).message);
    expect(messages.slice(0, -1)).toEqual([
      `${subject} an invalid policy name: unknown policy 'missing'; \`policies\` has large`,
      `${subject} null; it must return a policy name or options. To exempt the request, return a limit of Infinity, or true from \`skip\``,
      `${subject} 7; it must return a policy name or options`,
      `${subject} [{ maxRequest }, 'large']; it must return a policy name or options. Return several limits as \`limits\`; several policies need one @RateLimit each`,
      `${wrong} \`capacity\` must be a positive number, got -1`,
      `${wrong} \`maxRequest\` must be a positive whole number, got '2'. Convert strings by Number()`,
      `${wrong} \`maxRequest\` must be a positive whole number, got 'Infinity'. Convert strings by Number()`,
      `${wrong} limits[0]: \`maxRequest\` must be a positive whole number, got 2.5`,
    ]);
    expect(messages[8]).toMatch(/invalid options: unknown option `id`.*\. Return an object with options only$/);
  });

  it('take nothing if a resolver throws, and handle a later rejection of another one', async () => {
    const unhandled: unknown[] = [];
    const record = (error: unknown) => unhandled.push(error);
    process.on('unhandledRejection', record);
    expect(await get('/throwing')).toEqual([500, undefined]);
    expect(String(errors[0])).toMatch(/no key today|too late/);
    await new Promise((resolve) => setTimeout(resolve, 5));
    process.off('unhandledRejection', record);
    expect(unhandled).toEqual([]);
    expect(await left({ ...FIVE, name: 'before' }, 'throwing')).toBe(5);
  });
});

describe('Resolver', () => {
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
    [
      PerRequest,
      'Resolver PerRequest must not be request-scoped or depend on a request-scoped provider, because one instance',
    ],
    [
      NeedsRequest,
      'Resolver NeedsRequest must not be request-scoped or depend on a request-scoped provider, because one instance',
    ],
    [NeedsUnknown, "Resolver NeedsUnknown must be a provider of a module: Nest can't resolve"],
  ])('fails at startup if it cannot be instantiated once: %p', async (key, message) => {
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

  it('uses a single instance of a transient injectable', async () => {
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

  abstract class Port implements Resolver<string> {
    abstract resolve(): string;
  }
  @Injectable()
  class Adapter extends Port {
    resolve() {
      return 'key';
    }
  }
  @Injectable()
  class Arrow implements Resolver<string> {
    readonly resolve = () => 'key';
  }
  class Replaced implements Resolver<string> {
    resolve() {
      return '';
    }
  }
  const startWith = (options: RateLimitInput, providers: Provider[], module: RateLimitModuleOptions = {}) => {
    @Controller()
    class Asking {
      @RateLimit(options)
      @Get()
      get() {}
    }
    return createApp('express', { imports: [RateLimitModule.forRoot(module)], controllers: [Asking], providers });
  };

  it.each<[string, unknown, Provider]>([
    ['an abstract class', Port, { provide: Port, useClass: Adapter }],
    ['an abstract class with a transient provider', Port, { provide: Port, useClass: Adapter, scope: Scope.TRANSIENT }],
    ['an abstract class with an existing provider', Port, { provide: Port, useFactory: () => new Adapter() }],
    ['a class that defines `resolve` as a property', Arrow, Arrow],
    ['a class with an async factory', Replaced, { provide: Replaced, useFactory: async () => new Adapter() }],
  ])('may be %s', async (_, key, provider) => {
    const app = await startWith({ ...FIVE, key: key as Type<Port> }, [provider]);
    for (const left of [4, 3]) {
      const { headers } = await request(app.getHttpServer()).get('/').expect(200);
      expect(headers.ratelimit).toMatch(`"Asking.get";r=${left};`);
    }
    await app.close();
  });

  it.each<[string, RateLimitInput, RateLimitModuleOptions]>([
    ['Invalid @RateLimit on Asking.get: `key`', { ...FIVE, key: Port as Type<Port> }, {}],
    ['Invalid @RateLimit on Asking.get: `cost`', { ...FIVE, cost: Port as unknown as Type<Resolver<number>> }, {}],
    ['Invalid RateLimitModule options: `key`', FIVE, { key: Port as Type<Port> }],
    [
      'Invalid RateLimitModule options: policies.named: `key`',
      'named',
      { policies: { named: { ...FIVE, key: Port as Type<Port> } } },
    ],
    ['Invalid RateLimitModule options: default: `key`', FIVE, { default: { ...FIVE, key: Port as Type<Port> } }],
  ])('fails at startup if its instance has no `resolve`: %s', async (place, options, module) => {
    const start = startWith(options, [{ provide: Port, useValue: {} }], module);
    const message = `${place} must be a function or a class with a \`resolve\` method, got class Port`;
    await expect(start).rejects.toThrow(new RateLimitOptionError(message));
  });

  it('of a policy that is resolved per request is checked then', async () => {
    const app = await startWith(() => ({ ...FIVE, key: Port as Type<Port> }), [{ provide: Port, useValue: {} }]);
    await request(app.getHttpServer()).get('/').expect(500);
    await app.close();
  });

  it.each([42, 42n, '42'])('of a key may return a string or a number: %p', async (key) => {
    const store = new MemoryStore({ clock: new FakeClock() });
    const app = await startWith({ ...FIVE, name: 'account', key: () => key }, [], { store });
    await request(app.getHttpServer()).get('/').expect(200);
    const buckets = app.get(BucketService);
    const bucket = (of: string | number | bigint) => buckets.bucket({ ...FIVE, name: 'account' }, of);
    expect(await Promise.all(['42', 42, 42n].map((of) => bucket(of).available()))).toEqual([4, 4, 4]);
    await app.close();
  });

  it.each<[unknown, string]>([
    [Number.NaN, 'a non-empty string or a finite number, got NaN'],
    [Infinity, 'a non-empty string or a finite number, got Infinity'],
    [true, 'a non-empty string, got true'],
    [['a'], "a non-empty string, got ['a']"],
  ])('of a key must not return %p', async (key, rule) => {
    const app = await startWith({ ...FIVE, dryRun: true, name: `key ${rule}`, key: () => key as string }, []);
    const buckets = app.get(BucketService);
    expect(() => buckets.bucket(FIVE, key as string)).toThrow(
      '`key` must be a non-empty string or a finite number, got',
    );
    const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
    await request(app.getHttpServer()).get('/').expect(200);
    expect(warn.mock.calls.flat().join()).toContain(`The key of policy key ${rule} must be ${rule}`);
    warn.mockRestore();
    await app.close();
  });

  /** Returns a thenable whose `then` returns nothing. */
  const thenable = <T>(value: T) =>
    // biome-ignore lint/suspicious/noThenProperty: the query builders of some libraries are such thenables
    ({ then: (done: (value: T) => void) => void setImmediate(done, value) }) as unknown as Promise<T>;

  it.each<[string, RateLimitInput]>([
    ['key', { ...FIVE, key: () => thenable('key') }],
    ['cost', { ...FIVE, key: 'key', cost: () => thenable(1) }],
    ['skip', { ...FIVE, key: 'key', skip: () => thenable(false) }],
    ['policy', () => thenable({ ...FIVE, key: 'key' })],
  ])('awaits a %s that is a thenable but not a promise', async (_, limit) => {
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

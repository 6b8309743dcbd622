import { describe, expect, it } from '@jest/globals';
import { Controller, Get } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { RateLimit, RateLimitModule, RateLimitOptionError, RedisStore } from 'nest-rate-limit';

/** Casts an invalid value to the expected type, as an untyped caller could pass it. */
const as = <T>(value: unknown): T => value as T;

async function errorOf(run: () => Promise<unknown>): Promise<string> {
  try {
    await run();
  } catch (error) {
    expect(error).toBeInstanceOf(RateLimitOptionError);
    return (error as Error).message;
  }
  return 'it started';
}

const startWith = (module: unknown, controllers: never[] = []) =>
  Test.createTestingModule({ imports: [RateLimitModule.forRoot(as(module))], controllers })
    .compile()
    .then((compiled) => compiled.init().then(() => compiled.close()));

function startMethod(options: unknown): Promise<unknown> {
  @Controller()
  class SmsController {
    @RateLimit(as(options))
    @Get()
    send() {}
  }
  return startWith({}, [SmsController as never]);
}

const NO_LIMIT = '`maxRequest`, or `capacity` and `refill`, or `concurrency`, must be given';
const bucket = { capacity: 5, refill: 1 };
const quota = { capacity: 5, calendar: 'month' };
const window = { maxRequest: 5 };
class NoResolver {}

const DECORATOR_ERRORS: [unknown, string][] = [
  // Combinations of limit options.
  [{}, NO_LIMIT],
  [{ duration: 10, unit: 'seconds' }, NO_LIMIT],
  [{ refill: 1 }, '`capacity` must be given with `refill`'],
  [{ capacity: 1 }, '`refill` or `maxRequest` must be given with `capacity`'],
  [{ ...window, refillMode: 'greedy' }, '`refillMode` must be omitted without `capacity`: a window has no refill'],
  [{ timeZone: 'UTC', ...bucket }, '`calendar` must be given with `timeZone`'],
  [{ calendar: 'month' }, '`capacity` must be given with `calendar`'],
  [{ ...quota, calendar: 'decade' }, "`calendar` must be one of day, week, month, year, got 'decade'"],
  [{ ...quota, calendar: 1 }, '`calendar` must be one of day, week, month, year, got 1'],
  [
    { ...quota, refill: 1 },
    '`refill` must be omitted beside `calendar`: a quota is full again at the start of the next month',
  ],
  [
    { ...quota, refillMode: 'greedy' },
    '`refillMode` must be omitted beside `calendar`: a quota is full again at the start of the next month',
  ],
  [
    { ...quota, duration: 2 },
    '`duration` must be omitted beside `calendar`: a quota is full again at the start of the next month',
  ],
  [
    { ...quota, unit: 'days' },
    '`unit` must be omitted beside `calendar`: a quota is full again at the start of the next month',
  ],
  [{ ...quota, maxRequest: 5 }, '`maxRequest` must be omitted beside `calendar` and `capacity`: both are the quota'],
  [{ ...quota, capacity: 0 }, '`capacity` must be a positive number, got 0'],
  [{ ...quota, capacity: 1e13 }, '`capacity` must be at most 9007199254740.99, got 10000000000000'],
  [{ ...quota, capacity: 9e12 }, '`capacity` must be at most 4503599627370, got 9000000000000'],
  [{ calendar: 'month', maxRequest: 1.5 }, '`maxRequest` must be a positive whole number, got 1.5'],
  [
    { ...quota, timeZone: 'Europe/Atlantis' },
    "`timeZone` must be an IANA time zone such as 'Europe/Berlin', got 'Europe/Atlantis'",
  ],
  [{ ...quota, timeZone: 2 }, "`timeZone` must be an IANA time zone such as 'Europe/Berlin', got 2"],
  [{ ...quota, timezone: 'UTC' }, 'unknown option `timezone`. Did you mean `timeZone`?'],
  [{ ...quota, tz: 'UTC' }, 'unknown option `tz`. Did you mean `timeZone`?'],
  [{ ...quota, lease: 5 }, '`lease` must be omitted for a calendar quota, whose tokens cannot be held'],
  [{ ...bucket, limits: [window] }, '`capacity` must be omitted beside `limits`'],
  [{ duration: 1, limits: [window] }, '`duration` must be omitted beside `limits`'],
  [{ slotTtl: '30s', ...window }, '`slotTtl` must be omitted without `concurrency`'],
  [{ ...quota, slotTtl: '30s' }, '`slotTtl` must be omitted without `concurrency`'],
  [{ concurrency: 4, ...window }, '`maxRequest` must be omitted beside `concurrency`: use `limits: [...]` for both'],
  [{ concurrency: 4, unit: 'hours' }, '`unit` must be omitted beside `concurrency`: use `limits: [...]` for both'],
  [{ concurrency: 4, limits: [window] }, '`concurrency` must be omitted beside `limits`'],
  [
    { limits: [{ concurrency: 4 }, { concurrency: 8 }] },
    "`limits` must be a list with at most one `concurrency`, the smallest, got '2 of them'",
  ],
  [{ concurrency: 4, lease: 2 }, '`lease` must be omitted for a concurrency limit, whose tokens cannot be held'],
  [{ concurrency: 4, cost: 2 }, '`cost` must be omitted for a concurrency limit alone: a request takes one slot'],
  [
    { concurrency: 4, settle: 'failures' },
    '`settle` must be omitted for a concurrency limit alone: a request takes one slot',
  ],
  // Each limit option.
  [{ concurrency: 0 }, '`concurrency` must be a positive whole number, got 0'],
  [{ concurrency: 1.5 }, '`concurrency` must be a positive whole number, got 1.5'],
  [{ concurrency: Infinity }, '`concurrency` must be a positive whole number, got Infinity'],
  [{ concurrency: '4' }, "`concurrency` must be a positive whole number, got '4'. Convert strings by Number()"],
  [{ concurrency: 4, slotTtl: 999 }, '`slotTtl` must be from one second to one hour, got 999'],
  [{ concurrency: 4, slotTtl: '2h' }, "`slotTtl` must be from one second to one hour, got '2h'"],
  [{ concurrency: 4, slotTtl: 'soon' }, "`slotTtl` must be milliseconds or a string such as '10s', got 'soon'"],
  [{ ...bucket, capacity: 0 }, '`capacity` must be a positive number, got 0'],
  [{ ...bucket, capacity: -1 }, '`capacity` must be a positive number, got -1'],
  [{ ...bucket, capacity: Number.NaN }, '`capacity` must be a positive number, got NaN'],
  [{ ...bucket, capacity: '20' }, "`capacity` must be a positive number, got '20'. Convert strings by Number()"],
  [{ ...bucket, capacity: null }, '`capacity` must be a positive number, got null'],
  [{ ...bucket, capacity: 0.0001 }, '`capacity` must be a number with at most three decimals, got 0.0001'],
  [{ ...bucket, capacity: Infinity }, '`capacity` must be at most 9007199254740.99, got Infinity'],
  [{ ...bucket, maxRequest: 5, refill: null }, '`refill` must be a number of at least 0, got null'],
  [{ ...bucket, refill: -1 }, '`refill` must be a number of at least 0, got -1'],
  [{ ...bucket, refill: Number.NaN }, '`refill` must be a number of at least 0, got NaN'],
  [{ ...bucket, refill: '1' }, "`refill` must be a number of at least 0, got '1'. Convert strings by Number()"],
  [{ ...bucket, refill: 0.0005 }, '`refill` must be a number with at most three decimals, got 0.0005'],
  [{ ...bucket, refillMode: 'slowly' }, "`refillMode` must be 'greedy' or 'intervally', got 'slowly'"],
  [{ maxRequest: 0 }, '`maxRequest` must be a positive whole number, got 0'],
  [{ maxRequest: 1.5 }, '`maxRequest` must be a positive whole number, got 1.5'],
  [{ maxRequest: '2' }, "`maxRequest` must be a positive whole number, got '2'. Convert strings by Number()"],
  [{ maxRequest: Infinity }, '`maxRequest` must be a positive whole number, got Infinity'],
  [{ maxRequest: null }, '`maxRequest` must be a positive whole number, got null'],
  [{ ...window, duration: 0 }, '`duration` must be a positive number of `unit`s, got 0'],
  [{ ...window, duration: '10s' }, "`duration` must be a positive number of `unit`s, got '10s'"],
  [{ ...window, duration: Infinity }, '`duration` must be at most ten years, got Infinity'],
  [{ ...window, duration: 0.0005 }, '`duration` must be a whole number of milliseconds, got 0.0005'],
  [{ ...window, duration: 3651, unit: 'days' }, '`duration` must be at most ten years, got 3651'],
  [{ ...window, unit: 'weeks' }, "`unit` must be one of milliseconds, seconds, minutes, hours, days, got 'weeks'"],
  [{ ...window, unit: 1000 }, '`unit` must be one of milliseconds, seconds, minutes, hours, days, got 1000'],
  [
    { ...window, unit: 'constructor' },
    "`unit` must be one of milliseconds, seconds, minutes, hours, days, got 'constructor'",
  ],
  // `limits`.
  [{ limits: [] }, '`limits` must be a list of at least one limit, got []'],
  [{ limits: {} }, '`limits` must be a list of at least one limit, got {}'],
  [{ limits: [window, null] }, '`limits[1]` must be an object, got null'],
  [{ limits: [window, { capacity: 0, refill: 1 }] }, 'limits[1]: `capacity` must be a positive number, got 0'],
  [
    { limits: [{ ...window, key: 'all' }] },
    'limits[0]: unknown option `key`; known options are duration, unit, maxRequest, capacity, refill, refillMode, calendar, timeZone, concurrency, slotTtl, soft, name, cost, settle',
  ],
  [{ limits: [window, { ...bucket, cost: -1 }] }, 'limits[1]: `cost` must be a number of at least 0, got -1'],
  [
    { limits: [window, { ...bucket, cost: 6 }] },
    'limits[1]: `cost` must be at most 5, otherwise no request could be allowed, got 6',
  ],
  [
    { cost: 6, limits: [{ ...window, cost: 1 }, bucket] },
    '`cost` must be at most 5, otherwise no request could be allowed, got 6',
  ],
  [
    { limits: [{ ...window, cost: NoResolver }] },
    'limits[0]: `cost` must be a function or a class with a `resolve` method, got class NoResolver',
  ],
  [
    { limits: [{ ...window, settle: 'always' }] },
    "limits[0]: `settle` must be 'failures', 'successes' or a function, got 'always'",
  ],
  [
    { limits: [{ concurrency: 2, settle: 'failures' }, bucket] },
    'limits[0]: `settle` must be omitted for a concurrency limit: a request takes one slot',
  ],
  [
    { lease: 2, limits: [{ ...bucket, cost: 2 }] },
    '`lease` must be omitted if a limit has a `cost` or `settle` of its own',
  ],
  [{ limits: [{ ...window, name: '' }] }, "limits[0]: `name` must be printable ASCII of 1 to 128 characters, got ''"],
  // All other options.
  [{ ...bucket, name: '' }, "`name` must be printable ASCII of 1 to 128 characters, got ''"],
  [{ ...bucket, name: 'a\nb' }, "`name` must be printable ASCII of 1 to 128 characters, got 'a\\nb'"],
  [{ ...bucket, name: 'grün' }, "`name` must be printable ASCII of 1 to 128 characters, got 'grün'"],
  [{ ...bucket, name: 7 }, '`name` must be printable ASCII of 1 to 128 characters, got 7'],
  [
    { ...bucket, name: 'x'.repeat(129) },
    `\`name\` must be printable ASCII of 1 to 128 characters, got '${'x'.repeat(60)}…'`,
  ],
  [{ ...bucket, key: '' }, "`key` must be a non-empty string, a function or an injectable class, got ''"],
  [{ ...bucket, key: 42 }, '`key` must be a non-empty string, a function or an injectable class, got 42'],
  [{ ...bucket, key: null }, '`key` must be a non-empty string, a function or an injectable class, got null'],
  [{ ...bucket, key: NoResolver }, '`key` must be a function or a class with a `resolve` method, got class NoResolver'],
  [{ ...bucket, cost: -1 }, '`cost` must be a number of at least 0, got -1'],
  [{ ...bucket, cost: '1' }, "`cost` must be a number of at least 0, got '1'. Convert strings by Number()"],
  [{ ...bucket, cost: 1e300 }, '`cost` must be at most 9007199254740.99, got 1e+300'],
  [{ ...bucket, cost: null }, '`cost` must be a number of at least 0, got null'],
  [{ ...bucket, cost: 6 }, '`cost` must be at most 5, otherwise no request could be allowed, got 6'],
  [{ ...window, cost: 6 }, '`cost` must be at most 5, otherwise no request could be allowed, got 6'],
  [{ ...window, cost: 5.0001 }, '`cost` must be at most 5, otherwise no request could be allowed, got 5.0001'],
  [{ ...bucket, skip: 'no' }, "`skip` must be true, false, a function or an injectable class, got 'no'"],
  [{ ...bucket, skip: null }, '`skip` must be true, false, a function or an injectable class, got null'],
  [{ ...bucket, maxWait: 0 }, '`maxWait` must be positive, got 0'],
  [{ ...bucket, maxWait: -5 }, '`maxWait` must be positive, got -5'],
  [{ ...bucket, maxWait: Infinity }, '`maxWait` must be at most ten years, got Infinity'],
  [{ ...bucket, maxWait: '5 s' }, "`maxWait` must be milliseconds or a string such as '10s', got '5 s'"],
  [{ ...bucket, maxWait: '0.5ms' }, "`maxWait` must be a whole number of milliseconds, got '0.5ms'"],
  [{ ...bucket, block: 'long' }, "`block` must be milliseconds or a string such as '10s', got 'long'"],
  [{ ...bucket, block: 0 }, '`block` must be positive, got 0'],
  [{ ...bucket, settle: 'errors' }, "`settle` must be 'failures', 'successes' or a function, got 'errors'"],
  [{ ...bucket, settle: null }, "`settle` must be 'failures', 'successes' or a function, got null"],
  [{ ...bucket, dryRun: 'yes' }, "`dryRun` must be true or false, got 'yes'"],
  [{ ...bucket, perHandler: 1 }, '`perHandler` must be true or false, got 1'],
  [{ ...bucket, message: 7 }, '`message` must be a string, an object or a function, got 7'],
  [{ ...bucket, message: null }, '`message` must be a string, an object or a function, got null'],
  [{ ...bucket, onLimited: 'cached' }, "`onLimited` must be a function or an injectable class, got 'cached'"],
  [
    { ...bucket, onLimited: NoResolver },
    '`onLimited` must be a function or a class with a `resolve` method, got class NoResolver',
  ],
  [{ ...bucket, onStoreError: 'shut' }, "`onStoreError` must be one of local, open, closed, got 'shut'"],
  [
    { ...bucket, cost: NoResolver },
    '`cost` must be a function or a class with a `resolve` method, got class NoResolver',
  ],
  [
    { ...bucket, skip: NoResolver },
    '`skip` must be a function or a class with a `resolve` method, got class NoResolver',
  ],
  // Values that are not an options object.
  [undefined, '`options` must be an object, got undefined'],
  [null, '`options` must be an object, got null'],
  [5, '`options` must be an object, got 5'],
  [[], 'a list must have at least one policy, got []'],
  [[null], '`options` must be an object, got null'],
  [NoResolver, '`options` must be a function or a class with a `resolve` method, got class NoResolver'],
  ['missing', "unknown policy 'missing'; `policies` is empty"],
];

describe('@RateLimit option errors', () => {
  it.each(DECORATOR_ERRORS)('rejects %j: %s', async (options, message) => {
    expect(await errorOf(() => startMethod(options))).toBe(`Invalid @RateLimit on SmsController.send: ${message}`);
  });

  it('lists the known options if one is unknown and resembles none', async () => {
    expect(await errorOf(() => startMethod({ ...bucket, colour: 'red' }))).toMatch(
      /^Invalid @RateLimit on SmsController\.send: unknown option `colour`; known options are duration, unit, maxRequest, capacity, /,
    );
  });

  it.each([
    ['maxRequests', '`maxRequest`'],
    ['Capacity', '`capacity`'],
    ['refil', '`refill`'],
    ['perhandler', '`perHandler`'],
    ['limit', '`maxRequest`'],
    ['max', '`maxRequest`'],
    ['points', '`maxRequest`'],
    ['ttl', "`duration` with `unit: 'milliseconds'`"],
    ['windowMs', "`duration` with `unit: 'milliseconds'`"],
    ['keyGenerator', '`key`'],
    ['blockDuration', '`block`'],
    ['skipSuccessfulRequests', "`settle: 'failures'`"],
  ])('suggests what is meant by the unknown option %s', async (name, meant) => {
    expect(await errorOf(() => startMethod({ ...bucket, [name]: 5 }))).toBe(
      `Invalid @RateLimit on SmsController.send: unknown option \`${name}\`. Did you mean ${meant}?`,
    );
  });

  it('names the class if the class is decorated', async () => {
    @RateLimit({ maxRequest: -1 })
    @Controller()
    class SmsController {
      @Get() send() {}
    }
    expect(await errorOf(() => startWith({}, [SmsController as never]))).toBe(
      'Invalid @RateLimit on SmsController: `maxRequest` must be a positive whole number, got -1',
    );
  });

  it('rejects a default name that is not valid in a header', async () => {
    @Controller()
    class Größe {
      @RateLimit(bucket)
      @Get()
      send() {}
    }
    expect(await errorOf(() => startWith({}, [Größe as never]))).toBe(
      "Invalid @RateLimit on Größe.send: `name` must be printable ASCII of 1 to 128 characters, got 'Größe.send'",
    );
  });
});

const NOT_REDIS =
  '`store.redis` must be a redis:// url, ioredis options, or a client of ioredis, node-redis or Valkey GLIDE, got ';
const NOT_ENCODED =
  '`store.redis` must be a redis:// or rediss:// URL with special characters percent-encoded: `encodeURIComponent(password)`';

/** What is not a Redis, or does not say which. */
const REDIS_ERRORS: [unknown, string][] = [
  [[], `${NOT_REDIS}an array of 0`],
  [RedisStore, `${NOT_REDIS}class RedisStore`],
  ['localhost:6379', `${NOT_REDIS}a string of 14 characters`],
  [Promise.resolve({}), `${NOT_REDIS}a promise; await it, for example in the factory of \`forRootAsync\``],
  [
    { isOpen: true, sendCommand() {} },
    `${NOT_REDIS}another client of node-redis; create one with \`createClient\`, \`createCluster\` or \`createSentinel\` of redis 5`,
  ],
  [
    { customCommand() {} },
    `${NOT_REDIS}another client of Valkey GLIDE; create a \`GlideClient\` or \`GlideClusterClient\``,
  ],
  [{ eval() {} }, `${NOT_REDIS}a client of another library; create one with ioredis`],
  [{ hots: 'db' }, 'store.redis: ioredis has no option `hots`. Did you mean `host`?'],
  [
    { url: 'redis://db' },
    "store.redis: ioredis has no option `url`. Did you mean the URL itself, as in `redis: 'redis://…'`?",
  ],
  [
    { socket: { host: 'db' } },
    'store.redis: ioredis has no option `socket`. Did you mean `host` and `port`, `path` or `tls`, without `socket` around them?',
  ],
  [{ host: 'db', database: 1 }, 'store.redis: ioredis has no option `database`. Did you mean `db`?'],
  [
    { nodes: [] },
    'store.redis: ioredis has no option `nodes`. Did you mean a `Cluster` of ioredis, as in `redis: new Cluster([{ host, port }])`?',
  ],
  [
    { host: 'db', colour: 1 },
    'store.redis: ioredis has no option `colour`; if your version has it, pass a client: `redis: new Redis({ … })`',
  ],
  [{}, '`store.redis` must be options with a `host`, `path` or `sentinels`, got {}'],
  [{ port: 6379 }, '`store.redis` must be options with a `host`, `path` or `sentinels`, got { port }'],
  [{ host: undefined, port: 6379 }, '`store.redis.host` must be a non-empty string, got undefined'],
  [{ host: '' }, "`store.redis.host` must be a non-empty string, got ''"],
  [{ path: null }, '`store.redis.path` must be a non-empty string, got null'],
  [{ host: 'db', port: Number.NaN }, '`store.redis.port` must be a whole number of at most 65535, got NaN'],
  [{ host: 'db', port: '70000' }, "`store.redis.port` must be a whole number of at most 65535, got '70000'"],
  [{ host: 'db', db: 1.5 }, '`store.redis.db` must be a whole number of at most 2147483647, got 1.5'],
  [
    { host: 'db', connectTimeout: '2s' },
    "`store.redis.connectTimeout` must be a whole number of at most 2147483647, got '2s'",
  ],
  [
    { host: 'db', maxRetriesPerRequest: 'x' },
    "`store.redis.maxRetriesPerRequest` must be a whole number or null, got 'x'",
  ],
  [{ host: 'db', readOnly: 'no' }, "`store.redis.readOnly` must be true or false, got 'no'"],
  [{ host: 'db', password: 1234 }, '`store.redis.password` must be a string, got a value of type number'],
  [{ sentinels: [] }, '`store.redis.sentinels` must be a list of { host, port }, got an array of 0'],
  [
    { sentinels: [{ port: 1 }], name: 'main' },
    '`store.redis.sentinels` must be a list of { host, port }, got an array of 1',
  ],
  [
    { sentinels: [{ host: 'db' }] },
    '`store.redis.name` must be the name of the master that the Sentinels monitor, got undefined',
  ],
  ['redis://:pass#word@db', NOT_ENCODED],
  ['redis://:pass/word@db', NOT_ENCODED],
  ['redis://user:12/34@db', NOT_ENCODED],
  ['redis://user:12?34@db', NOT_ENCODED],
  ['redis://user:100%@db', NOT_ENCODED],
  ['redis:///1', '`store.redis` must be a redis:// or rediss:// URL with a host'],
  [
    'redis://db/cache',
    '`store.redis` must be a redis:// or rediss:// URL whose path is the number of a database, such as /2',
  ],
  ['redis://db?tls=true', '`store.redis` must be a redis:// or rediss:// URL without `tls` in its query'],
  [
    'redis://db?connectTimeout=1s',
    "`store.redis.connectTimeout` must be a whole number of at most 2147483647, got '1s'",
  ],
  [
    '/run/redis.sock?timeout=1',
    'store.redis: ioredis has no option `timeout`; if your version has it, pass a client: `redis: new Redis({ … })`',
  ],
];

const MODULE_ERRORS: [unknown, string][] = [
  [null, '`options` must be an object, the argument of `forRoot`, got null'],
  [[window], '`options` must be an object, the argument of `forRoot`, got [{ maxRequest }]'],
  [{ onLimited: null }, '`onLimited` must be a function or an injectable class, got null'],
  [
    { store: undefined },
    '`store` must be a RateLimitStore, such as `new MemoryStore()`, or { redis: … }, got undefined',
  ],
  [{ store: null }, '`store` must be a RateLimitStore, such as `new MemoryStore()`, or { redis: … }, got null'],
  [
    { store: 'redis://user:pw@db' },
    '`store` must be a RateLimitStore, such as `new MemoryStore()`, or { redis: … }, got a string of 18 characters',
  ],
  [{ store: {} }, '`store` must be a RateLimitStore, such as `new MemoryStore()`, or { redis: … }, got {}'],
  [
    { store: { redis: undefined } },
    '`store.redis` must be a redis:// url, ioredis options, or a client of ioredis, node-redis or Valkey GLIDE, got undefined',
  ],
  [
    { store: { redis: '' } },
    '`store.redis` must be a redis:// url, ioredis options, or a client of ioredis, node-redis or Valkey GLIDE, got a string of 0 characters',
  ],
  [
    { store: { redis: 'redis//user:hunter2@db:6379' } },
    '`store.redis` must be a redis:// url, ioredis options, or a client of ioredis, node-redis or Valkey GLIDE, got a string of 27 characters',
  ],
  [
    { store: { redis: null } },
    '`store.redis` must be a redis:// url, ioredis options, or a client of ioredis, node-redis or Valkey GLIDE, got null',
  ],
  ...REDIS_ERRORS.map(([redis, message]): [unknown, string] => [{ store: { redis } }, message]),
  [{ policies: [] }, '`policies` must be an object of policies by name, got []'],
  [{ policies: null }, '`policies` must be an object of policies by name, got null'],
  [{ policies: { a: null } }, 'policies.a: `options` must be an object, got null'],
  [{ policies: { a: { capacity: 0, refill: 1 } } }, 'policies.a: `capacity` must be a positive number, got 0'],
  [
    { policies: { a: { ...bucket, name: 'b' } } },
    "policies.a: `name` must be omitted, or 'a' as in `policies`, got 'b'",
  ],
  [{ policies: { é: bucket } }, "policies.é: `name` must be printable ASCII of 1 to 128 characters, got 'é'"],
  [{ default: undefined }, 'default: `options` must be an object, got undefined'],
  [{ default: { maxRequest: 0 } }, 'default: `maxRequest` must be a positive whole number, got 0'],
  [{ default: [] }, 'default: `options` must be an object, got []'],
  [{ default: [bucket, null] }, 'default: `options` must be an object, got null'],
  [{ default: 'payd', policies: { paid: bucket } }, "default: unknown policy 'payd'. Did you mean 'paid'?"],
  [{ default: 'free', policies: { paid: bucket } }, "default: unknown policy 'free'; `policies` has paid"],
  [{ key: '' }, "`key` must be a non-empty string, a function or an injectable class, got ''"],
  [{ key: 1 }, '`key` must be a non-empty string, a function or an injectable class, got 1'],
  [{ guard: 'no' }, "`guard` must be true or false, got 'no'"],
  [{ headers: 'draft-10' }, "`headers` must be false, or one or more of draft-11, draft-6, legacy, got 'draft-10'"],
  [{ headers: true }, '`headers` must be false, or one or more of draft-11, draft-6, legacy, got true'],
  [
    { headers: ['draft-6', 'x'] },
    "`headers` must be false, or one or more of draft-11, draft-6, legacy, got ['draft-6', 'x']",
  ],
  [{ problemDetails: 1 }, '`problemDetails` must be true or false, got 1'],
  [{ failure: null }, '`failure` must be an object, got null'],
  [{ failure: { mode: 'shut' } }, "`failure.mode` must be one of local, open, closed, got 'shut'"],
  [{ failure: { timeout: 0 } }, '`failure.timeout` must be positive, got 0'],
  [{ failure: { instances: 0 } }, '`failure.instances` must be a positive whole number, got 0'],
  [{ failure: { instances: 1.5 } }, '`failure.instances` must be a positive whole number, got 1.5'],
  [{ failure: { tries: 3 } }, 'failure: unknown option `tries`; known options are mode, timeout, instances'],
  [{ message: null }, '`message` must be a string, an object or a function, got null'],
  [{ maxSuspended: -1 }, '`maxSuspended` must be a whole number of at least 0, got -1'],
  [{ maxSuspended: Infinity }, '`maxSuspended` must be a whole number of at least 0, got Infinity'],
];

it('lists the known module options if one is unknown and resembles none', async () => {
  const message = await errorOf(() => startWith({ colour: 'red' }));
  expect(message).toMatch(
    /^Invalid RateLimitModule options: unknown option `colour`; known options are store, policies, default, /,
  );
});

it.each([
  ['heders', '`headers`'],
  ['throttlers', '`policies` or `default`'],
  ['storage', '`store`'],
  ['maxRequest', '`maxRequest` in `default` or in one of `policies`'],
  ['limit', '`maxRequest` in `default` or in one of `policies`'],
  ['ttl', "`duration` with `unit: 'milliseconds'` in `default` or in one of `policies`"],
])('suggests what is meant by the unknown module option %s', async (name, meant) => {
  expect(await errorOf(() => startWith({ [name]: 60 }))).toBe(
    `Invalid RateLimitModule options: unknown option \`${name}\`. Did you mean ${meant}?`,
  );
});

it('suggests the store option that an unknown one resembles', async () => {
  const message = await errorOf(() => startWith({ store: { redis: 'redis://a', prefx: 'x' } }));
  expect(message).toBe('Invalid RateLimitModule options: store: unknown option `prefx`. Did you mean `prefix`?');
});

it('lists the known store options if one is unknown and resembles none', async () => {
  const message = await errorOf(() => startWith({ store: { redis: 'redis://a', colour: 'red' } }));
  expect(message).toMatch(
    /^Invalid RateLimitModule options: store: unknown option `colour`; known options are redis, prefix, /,
  );
});

describe('RateLimitModule option errors', () => {
  it.each(MODULE_ERRORS)('rejects %j: %s', async (options, message) => {
    expect(await errorOf(() => startWith(options))).toBe(`Invalid RateLimitModule options: ${message}`);
  });
});

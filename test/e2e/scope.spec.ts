import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller, type ExecutionContext, Get, type INestApplication, Post } from '@nestjs/common';
import { RateLimit, RateLimitModule, SkipRateLimit } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { COMBINATIONS, createApp } from '../support/create-app.js';
import { clockedStore, statuses } from '../support/requests.js';

const ONE = { maxRequest: 1, duration: 1, unit: 'hour' } as const;
const TWO = { ...ONE, maxRequest: 2 };
const THREE = { ...ONE, maxRequest: 3 };

class Handlers {
  @Get('a') a() {}
  @Get('b') b() {}
}

@Controller('free')
class Free extends Handlers {}

@RateLimit(TWO)
@Controller('shared')
class Shared {
  @Get('a') a() {}
  @Get('b') b() {}
  @RateLimit(ONE)
  @Get('own')
  own() {}
  @SkipRateLimit()
  @Get('skipped')
  skipped() {}
}

@RateLimit({ ...ONE, perHandler: true })
@Controller('split')
class Split {
  @Get('a') a() {}
  @Get('b') b() {}
}

@RateLimit({ ...ONE, name: 'named-split', perHandler: true })
@Controller('named-split')
class NamedSplit {
  @Get('a') a() {}
  @Get('b') b() {}
}

@SkipRateLimit()
@Controller('skip')
class Skipped {
  @Get('a') a() {}
  @RateLimit(ONE)
  @Get('own')
  own() {}
}

@SkipRateLimit()
class SkippedBase {}

@RateLimit(ONE)
@Controller('skip-base')
class OfSkippedBase extends SkippedBase {
  @Get() a() {}
}

@Controller('stack')
class Stack {
  @RateLimit(THREE)
  @RateLimit({ capacity: 1, refill: 1, key: 'everybody' })
  @Get('two')
  two() {}

  @RateLimit([TWO, { ...ONE, name: 'gate' }])
  @Get('gated')
  gated() {}

  @RateLimit({ ...ONE, name: 'gate' })
  @Get('gate')
  gate() {}

  @RateLimit({
    limits: [
      { ...TWO, duration: 2 },
      { capacity: 1, refill: 1 },
    ],
  })
  @Get('limits')
  limits() {}
}

@Controller('named')
class Named {
  @RateLimit('house')
  @Get('a')
  a() {}
  @RateLimit('house')
  @Post('b')
  b() {}
}

@RateLimit('house')
@Controller('named-too')
class NamedToo {
  @Get() a() {}
}

/** Replaces the handler with a function of another name, as tracing and logging decorators do. */
function wrap(): MethodDecorator {
  return (_target, _property, descriptor: PropertyDescriptor) => {
    const inner = descriptor.value;
    descriptor.value = function wrapped(...args: unknown[]) {
      return inner.apply(this, args);
    };
  };
}

@Controller('wrapped')
class Wrapped {
  @Get('a')
  @RateLimit(ONE)
  @wrap()
  a() {}

  @Get('b')
  @RateLimit(ONE)
  @wrap()
  b() {}

  @Get('below')
  @wrap()
  @RateLimit(ONE)
  below() {}

  @Get('around')
  @RateLimit({ ...ONE, name: 'outer' })
  @wrap()
  @RateLimit({ ...ONE, name: 'inner' })
  around() {}
}

@RateLimit(ONE)
@Controller('wrapped-skip')
class WrappedSkip {
  @Get()
  @wrap()
  @SkipRateLimit()
  a() {}
}

@Controller('overridden')
class Overridden extends Wrapped {
  @Get('below')
  override below() {}
}

class Inherited {
  @RateLimit(ONE)
  @Get()
  list() {}
}
@Controller('cats')
class Cats extends Inherited {}
@Controller('dogs')
class Dogs extends Inherited {}

@RateLimit('split')
@Controller('split-policy')
class SplitPolicy {
  @Get('a')
  a() {}

  @Get('b')
  b() {}

  @RateLimit(() => 'split')
  @Get('c')
  c() {}
}

@Controller('split-policy-too')
class SplitPolicyToo {
  @RateLimit('split')
  @Get('a')
  a() {}
}

const CONTROLLERS = [
  SplitPolicy,
  SplitPolicyToo,
  Free,
  Shared,
  Split,
  NamedSplit,
  Skipped,
  OfSkippedBase,
  Stack,
  Named,
  NamedToo,
  Wrapped,
  WrappedSkip,
  Overridden,
  Cats,
  Dogs,
];

describe.each(COMBINATIONS)('Rate limit scope on $adapter with the $store store', ({ adapter, store }) => {
  const clock = new FakeClock();
  let app: INestApplication;
  beforeAll(async () => {
    app = await createApp(adapter, {
      imports: [
        RateLimitModule.forRoot({
          ...clockedStore(store, clock),
          policies: { house: TWO, split: { ...ONE, perHandler: true } },
        }),
      ],
      controllers: CONTROLLERS,
    });
  });
  afterAll(() => app.close());
  const get = (path: string) => request(app.getHttpServer()).get(path);

  it('does not include undecorated handlers', async () => {
    expect(await statuses(app, ...new Array<string>(5).fill('/free/a'))).toEqual([200, 200, 200, 200, 200]);
    expect(Object.keys((await get('/free/a')).headers).filter((name) => /ratelimit|retry/.test(name))).toEqual([]);
  });

  it('shares one bucket among the handlers of a class, except decorated or skipped ones', async () => {
    expect(await statuses(app, '/shared/a', '/shared/b', '/shared/a', '/shared/b')).toEqual([200, 200, 429, 429]);
    expect(await statuses(app, '/shared/own', '/shared/own')).toEqual([200, 429]);
    expect(await statuses(app, '/shared/skipped', '/shared/skipped', '/shared/skipped')).toEqual([200, 200, 200]);
  });

  it('uses one bucket per handler with perHandler, with or without a name', async () => {
    for (const path of ['/split', '/named-split']) {
      expect(await statuses(app, `${path}/a`, `${path}/b`, `${path}/a`, `${path}/b`)).toEqual([200, 200, 429, 429]);
    }
    expect((await get('/split/a')).headers['ratelimit-policy']).toBe('"Split.a";q=1;w=3600');
    expect((await get('/named-split/a')).headers['ratelimit-policy']).toBe('"named-split.NamedSplit.a";q=1;w=3600');
  });

  it('uses one bucket per handler for a named policy with perHandler, by name or resolver', async () => {
    const paths = ['a', 'b', 'c'].map((path) => `/split-policy/${path}`).concat('/split-policy-too/a');
    expect(await statuses(app, ...paths, ...paths)).toEqual([200, 200, 200, 200, 429, 429, 429, 429]);
    expect((await get('/split-policy/b')).headers['ratelimit-policy']).toBe('"split.SplitPolicy.b";q=1;w=3600');
  });

  it('excludes a skipped class, except handlers with their own decorator', async () => {
    expect(await statuses(app, '/skip/a', '/skip/a', '/skip/own', '/skip/own')).toEqual([200, 200, 200, 429]);
  });

  it('includes a decorated class whose base class is skipped', async () => {
    expect(await statuses(app, '/skip-base', '/skip-base')).toEqual([200, 429]);
  });

  it('combines several decorators, and takes from all policies or none', async () => {
    expect(await statuses(app, '/stack/two', '/stack/two', '/stack/two')).toEqual([200, 429, 429]);
    await clock.advance(1000);
    // The two rejections took nothing from the limit of three.
    const second = await get('/stack/two');
    expect([second.status, second.headers.ratelimit]).toEqual([200, '"Stack.two";r=1;t=3599, "Stack.two-2";r=0;t=1']);
  });

  it('takes nothing from a policy when another one denies the request', async () => {
    expect(await statuses(app, '/stack/gate', '/stack/gated', '/stack/gated', '/stack/gated')).toEqual([
      200, 429, 429, 429,
    ]);
    const refused = await get('/stack/gated');
    expect(refused.headers.ratelimit).toBe('"Stack.gated";r=2, "gate";r=0;t=3600');
  });

  it('applies all limits of a policy together', async () => {
    expect(await statuses(app, '/stack/limits', '/stack/limits')).toEqual([200, 429]);
    expect((await get('/stack/limits')).headers.ratelimit).toBe(
      '"Stack.limits/window";r=1;t=7200, "Stack.limits/bucket";r=0;t=1',
    );
  });

  it('shares a named policy among all handlers that use it', async () => {
    const post = () => request(app.getHttpServer()).post('/named/b');
    expect((await get('/named/a')).status).toBe(200);
    expect((await post()).status).toBe(201);
    expect((await get('/named-too')).status).toBe(429);
    expect((await get('/named/a')).status).toBe(429);
  });

  it('separates handlers whose functions have the same name because a decorator wrapped them', async () => {
    expect(await statuses(app, '/wrapped/a', '/wrapped/b', '/wrapped/a', '/wrapped/b')).toEqual([200, 200, 429, 429]);
    expect((await get('/wrapped/a')).headers['ratelimit-policy']).toBe('"Wrapped.a";q=1;w=3600');
  });

  it('keeps the limits of a handler that a decorator above them wraps', async () => {
    expect(await statuses(app, '/wrapped/below', '/wrapped/below', '/wrapped-skip', '/wrapped-skip')).toEqual([
      200, 429, 200, 200,
    ]);
    expect((await get('/wrapped/below')).headers['ratelimit-policy']).toBe('"Wrapped.below";q=1;w=3600');
    expect((await get('/wrapped/around')).headers['ratelimit-policy']).toBe('"outer";q=1;w=3600, "inner";q=1;w=3600');
    expect(await statuses(app, '/overridden/below', '/overridden/below')).toEqual([200, 200]);
  });

  it('separates a handler that two controllers inherit', async () => {
    expect(await statuses(app, '/cats', '/dogs', '/cats', '/dogs')).toEqual([200, 200, 429, 429]);
  });
});

describe('Default policy', () => {
  let app: INestApplication;
  const start = async (options: object) => {
    app = await createApp('express', {
      imports: [RateLimitModule.forRoot({ ...clockedStore('memory', new FakeClock()), ...options })],
      controllers: [Free, Shared, Skipped],
    });
  };

  it('uses one bucket for all undecorated handlers, and only for them', async () => {
    await start({ default: TWO });
    expect(await statuses(app, '/free/a', '/free/b', '/free/a')).toEqual([200, 200, 429]);
    expect(await statuses(app, '/shared/own', '/shared/a', '/skip/a', '/skip/a')).toEqual([200, 200, 200, 200]);
    expect((await request(app.getHttpServer()).get('/free/a')).headers['ratelimit-policy']).toBe(
      '"default";q=2;w=3600',
    );
    await app.close();
  });

  it('accepts several policies, a name from `policies`, or a function of the request', async () => {
    const policies = { free: { ...ONE, key: 'all' }, paid: TWO };
    await start({ policies, default: ['free', { ...TWO, key: 'all' }] });
    const { headers } = await request(app.getHttpServer()).get('/free/a');
    expect(headers['ratelimit-policy']).toBe('"free";q=1;w=3600, "default-2";q=2;w=3600');
    await app.close();
    await start({
      policies,
      default: (context: ExecutionContext) => (context.getHandler().name === 'a' ? 'free' : 'paid'),
    });
    expect(await statuses(app, '/free/a', '/free/b', '/free/a', '/free/b', '/free/b')).toEqual([
      200, 200, 429, 200, 429,
    ]);
    await app.close();
  });

  it.each([
    ['options', { default: { ...ONE, perHandler: true } }],
    ['the name of a policy', { policies: { split: { ...ONE, perHandler: true } }, default: 'split' }],
  ])('uses one bucket per handler with perHandler: %s', async (_, options) => {
    await start(options);
    expect(await statuses(app, '/free/a', '/free/b', '/free/a')).toEqual([200, 200, 429]);
    await app.close();
  });
});

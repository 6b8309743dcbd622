import { afterEach, describe, expect, it, jest } from '@jest/globals';
import {
  type CanActivate,
  Controller,
  Get,
  type INestApplication,
  Inject,
  Injectable,
  Logger,
  Module,
  type ModuleMetadata,
  Optional,
  type Provider,
  UseGuards,
} from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import {
  BucketService,
  MemoryStore,
  RateLimit,
  RateLimitGuard,
  RateLimitModule,
  type RateLimitModuleOptions,
  RateLimitStore,
  SkipRateLimit,
} from 'nest-rate-limit';
import request from 'supertest';
import { ADAPTERS, COMBINATIONS, createApp, storeOptions } from '../support/create-app.js';
import { statuses } from '../support/requests.js';

const TWO = { maxRequest: 2, duration: 1, unit: 'hour' } as const;

@Controller()
class Resource {
  @RateLimit(TWO)
  @Get('limited')
  limited() {}

  @RateLimit('house')
  @Get('named')
  named() {}
}

@UseGuards(RateLimitGuard)
@Controller()
class Guarded {
  @UseGuards(RateLimitGuard, RateLimitGuard)
  @RateLimit(TWO)
  @Get('limited')
  limited() {}
}

@Controller()
class Unguarded {
  @RateLimit(TWO)
  @Get('limited')
  limited() {}
}

let app: INestApplication;
afterEach(() => app?.close());

describe.each(COMBINATIONS)('RateLimitGuard binding on $adapter with the $store store', ({ adapter, store }) => {
  it('counts a request once if the guard is bound globally, to the class, and to the method', async () => {
    app = await createApp(adapter, {
      imports: [RateLimitModule.forRoot(storeOptions(store))],
      controllers: [Guarded],
    });
    expect(await statuses(app, '/limited', '/limited', '/limited')).toEqual([200, 200, 429]);
  });

  it('counts a request once if the application also binds the exported guard as APP_GUARD', async () => {
    for (const guard of [true, false]) {
      app = await createApp(adapter, {
        imports: [RateLimitModule.forRoot({ ...storeOptions(store), guard })],
        controllers: [Unguarded],
        providers: [{ provide: APP_GUARD, useExisting: RateLimitGuard }],
      });
      expect(await statuses(app, '/limited', '/limited', '/limited')).toEqual([200, 200, 429]);
      await app.close();
    }
  });

  it('limits only handlers that the guard is bound to, with guard: false', async () => {
    app = await createApp(adapter, {
      imports: [RateLimitModule.forRoot({ ...storeOptions(store), guard: false })],
      controllers: [Guarded],
    });
    expect(await statuses(app, '/limited', '/limited', '/limited')).toEqual([200, 200, 429]);
    await app.close();
    app = await createApp(adapter, {
      imports: [RateLimitModule.forRoot({ ...storeOptions(store), guard: false })],
      controllers: [Unguarded],
    });
    expect(await statuses(app, '/limited', '/limited', '/limited')).toEqual([200, 200, 200]);
  });
});

describe('Warning about handlers without a RateLimitGuard', () => {
  class Extended extends RateLimitGuard {}

  @UseGuards(Extended)
  @Controller('extended')
  class Extending extends Unguarded {}

  @Controller()
  class Forgetful {
    @RateLimit('house')
    @Get('named')
    named() {}

    @SkipRateLimit()
    @Get('free')
    free() {}

    @UseGuards(RateLimitGuard)
    @RateLimit(TWO)
    @Get('guarded')
    guarded() {}
  }

  const warningsOf = async (metadata: ModuleMetadata, guard: boolean, prepare?: (app: INestApplication) => void) => {
    const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
    const imports = [RateLimitModule.forRoot({ guard, policies: { house: TWO } })];
    app = await createApp('express', { imports, ...metadata }, prepare);
    const warnings = warn.mock.calls.map(([text]) => text);
    warn.mockRestore();
    return warnings;
  };

  it('lists the limited handlers that no guard is bound to', async () => {
    expect(await warningsOf({ controllers: [Forgetful, Unguarded, Extending, Guarded] }, false)).toEqual([
      'No RateLimitGuard is bound to Forgetful.named, Unguarded.limited: their limits have no effect. ' +
        'With `guard: false`, bind it with @UseGuards(RateLimitGuard), or globally as APP_GUARD',
    ]);
  });

  it('is not logged if all limited handlers are guarded, however the guard is bound', async () => {
    const controllers = [Forgetful, Unguarded];
    const globally = (provider: Provider) => ({ controllers, providers: [provider] });
    const bindings: [ModuleMetadata, boolean, ((app: INestApplication) => void)?][] = [
      [{ controllers }, true],
      [{ controllers: [Guarded, Extending] }, false],
      [globally({ provide: APP_GUARD, useExisting: RateLimitGuard }), false],
      [globally({ provide: APP_GUARD, useClass: Extended }), false],
      [{ controllers }, false, (created) => created.useGlobalGuards(created.get(RateLimitGuard))],
    ];
    for (const binding of bindings) {
      expect(await warningsOf(...binding)).toEqual([]);
      await app.close();
    }
  });
});

describe('RateLimitModule.forRootAsync', () => {
  const options: RateLimitModuleOptions = { policies: { house: TWO }, headers: 'draft-6' };

  @Injectable()
  class Settings {
    createRateLimitOptions(): RateLimitModuleOptions {
      return options;
    }
  }

  @Module({ providers: [Settings, { provide: 'OPTIONS', useValue: options }], exports: [Settings, 'OPTIONS'] })
  class SettingsModule {}

  const variants = {
    useFactory: RateLimitModule.forRootAsync({
      imports: [SettingsModule],
      inject: ['OPTIONS'],
      useFactory: async (injected: RateLimitModuleOptions) => injected,
    }),
    useClass: RateLimitModule.forRootAsync({ useClass: Settings }),
    useExisting: RateLimitModule.forRootAsync({ imports: [SettingsModule], useExisting: Settings }),
  };

  it.each(Object.keys(variants) as (keyof typeof variants)[])('uses the options of %s', async (variant) => {
    app = await createApp('express', { imports: [variants[variant]], controllers: [Resource] });
    expect(await statuses(app, '/named', '/named', '/named')).toEqual([200, 200, 429]);
    const { headers } = await request(app.getHttpServer()).get('/limited');
    expect(headers['ratelimit-remaining']).toBe('1');
  });

  it('rejects an unknown option from the factory at startup', async () => {
    const wrong = RateLimitModule.forRootAsync({ useFactory: () => ({ heders: 'draft-6' }) as RateLimitModuleOptions });
    await expect(createApp('express', { imports: [wrong], controllers: [Resource] })).rejects.toThrow(
      'Invalid RateLimitModule options: unknown option `heders`',
    );
  });
});

describe('RateLimitModule', () => {
  @Injectable()
  class Mailer {
    constructor(@Optional() @Inject(BucketService) readonly buckets?: BucketService) {}
  }

  @Module({ providers: [Mailer], exports: [Mailer] })
  class Feature {}

  it('exports its providers to all modules by default', async () => {
    app = await createApp('express', { imports: [RateLimitModule.forRoot(), Feature] });
    expect(await app.get(Mailer).buckets?.bucket({ capacity: 1, refill: 1 }, 'a').tryConsume()).toBe(true);
  });

  it('exports its providers only to importing modules with isGlobal: false', async () => {
    const limits = RateLimitModule.forRoot({ isGlobal: false });
    app = await createApp('express', { imports: [limits, Feature] });
    expect(app.get(Mailer).buckets).toBeUndefined();
    await app.close();

    @Module({ imports: [limits], providers: [Mailer] })
    class Importing {}
    app = await createApp('express', { imports: [limits, Importing], controllers: [OtherResource] });
    expect(app.get(Mailer).buckets).toBeInstanceOf(BucketService);
    expect(await statuses(app, '/limited', '/limited', '/limited')).toEqual([200, 200, 429]);
  });

  it('exports the store from the options', async () => {
    const store = new MemoryStore();
    app = await createApp('express', { imports: [RateLimitModule.forRoot({ store }), Feature] });
    expect(app.get(RateLimitStore)).toBe(store);
  });

  it('shares a named policy between the decorator and BucketService', async () => {
    app = await createApp('express', {
      imports: [RateLimitModule.forRoot({ policies: { house: TWO }, key: 'all' }), Feature],
      controllers: [Resource],
    });
    expect(await app.get(Mailer).buckets?.bucket('house', 'all').tryConsume(2)).toBe(true);
    expect(await statuses(app, '/named')).toEqual([429]);
  });
});

describe('RateLimitModule imported several times', () => {
  const importing = (limits: ModuleMetadata['imports']) => {
    @Module({ imports: limits })
    class Feature {}
    return Feature;
  };

  it('accepts the same dynamic module in several modules', async () => {
    const limits = RateLimitModule.forRoot({ isGlobal: false });
    const other = RateLimitModule.forRoot({ policies: { house: TWO } });
    app = await createApp('express', { imports: [limits, importing([limits])], controllers: [OtherResource] });
    // A second application has its own module.
    const second = await createApp('express', { imports: [other, importing([other])], controllers: [Resource] });
    expect(await statuses(app, '/limited', '/limited', '/limited')).toEqual([200, 200, 429]);
    expect(await statuses(second, '/named', '/named', '/named')).toEqual([200, 200, 429]);
    await second.close();
  });

  it.each([
    ['forRoot', () => RateLimitModule.forRoot({ headers: 'draft-6' })],
    ['forRootAsync', () => RateLimitModule.forRootAsync({ useFactory: () => ({}) })],
    ['the class itself', () => RateLimitModule],
  ])('fails at startup if it is imported again with %s', async (_variant, second) => {
    await expect(createApp('express', { imports: [RateLimitModule.forRoot(), importing([second()])] })).rejects.toThrow(
      'RateLimitModule.forRoot() was imported 2 times; import it once',
    );
  });

  it('rejects an import of the class without forRoot', async () => {
    await expect(createApp('express', { imports: [RateLimitModule] })).rejects.toThrow(
      'Invalid RateLimitModule options: `options` must be an object, the argument of `forRoot`, got undefined',
    );
  });
});

@Controller()
class OtherResource {
  @RateLimit(TWO)
  @Get('limited')
  limited() {}
}

describe('An undefined policy name', () => {
  it('fails at startup and lists the defined policies', async () => {
    await expect(
      createApp('express', {
        imports: [RateLimitModule.forRoot({ policies: { a: TWO, b: TWO } })],
        controllers: [Resource],
      }),
    ).rejects.toThrow("Invalid @RateLimit on Resource.named: unknown policy 'house'; `policies` has a, b");
  });
});

describe.each(ADAPTERS)('RateLimitGuard on %s', (adapter) => {
  class ForbiddingGuard implements CanActivate {
    canActivate() {
      return false;
    }
  }

  @Controller()
  class Pages {
    @RateLimit(TWO)
    @Get('page')
    page() {
      return 'page';
    }

    @UseGuards(ForbiddingGuard)
    @RateLimit({ ...TWO, maxRequest: 3 })
    @Get('forbidden')
    forbidden() {}
  }

  const start = async (prepare?: (app: INestApplication) => void) => {
    app = await createApp(adapter, { imports: [RateLimitModule.forRoot()], controllers: [Pages] }, prepare);
    return request(app.getHttpServer());
  };
  const remaining = async () => (await request(app.getHttpServer()).get('/page')).headers.ratelimit;

  it('counts HEAD requests like GET requests', async () => {
    const http = await start();
    const first = await http.head('/page');
    expect([first.status, first.headers.ratelimit]).toEqual([200, '"Pages.page";r=1;t=3600']);
    expect((await http.get('/page')).status).toBe(200);
    const third = await http.head('/page');
    expect([third.status, third.headers['retry-after']]).toEqual([429, '3600']);
  });

  it('does not count requests for unknown routes or unsupported methods', async () => {
    const http = await start();
    for (const path of ['/none', '/page/none', '/PAGE%20']) expect((await http.get(path)).status).toBe(404);
    expect((await http.post('/page')).status).toBe(404);
    expect(await remaining()).toBe('"Pages.page";r=1;t=3600');
  });

  it('does not count CORS preflight requests', async () => {
    const http = await start((created) => created.enableCors());
    for (let i = 0; i < 3; i++) {
      const response = await http
        .options('/page')
        .set({ Origin: 'https://a.example', 'Access-Control-Request-Method': 'GET' });
      expect(response.headers).not.toHaveProperty('ratelimit');
    }
    expect(await remaining()).toBe('"Pages.page";r=1;t=3600');
  });

  it('counts requests that a later guard forbids', async () => {
    await start();
    expect(await statuses(app, ...new Array<string>(4).fill('/forbidden'))).toEqual([403, 403, 403, 429]);
  });
});

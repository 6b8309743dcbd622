import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import {
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  type INestApplication,
  Logger,
  Module,
  type ModuleMetadata,
  type Type,
  UseGuards,
} from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import {
  byIp,
  byUser,
  type KeyOf,
  MemoryStore,
  type PolicyResolver,
  RateLimit,
  RateLimitGuard,
  RateLimitModule,
  type RateLimitModuleOptions,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { isClass } from '../../src/util/option-error.js';
import { ADAPTERS, createApp } from '../support/create-app.js';
import { until } from '../support/requests.js';

const warnings: string[] = [];
let app: INestApplication | undefined;
beforeEach(() => {
  warnings.length = 0;
  jest.spyOn(Logger.prototype, 'warn').mockImplementation((message) => void warnings.push(message as string));
});
afterEach(async () => {
  jest.restoreAllMocks();
  await app?.close();
  app = undefined;
});
const limits = (options: RateLimitModuleOptions = {}) =>
  RateLimitModule.forRoot({ store: new MemoryStore({ clock: new FakeClock() }), ...options });

/** Sets `user` from the header `who`. */
class AuthGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const incoming = context.switchToHttp().getRequest<{ headers: { who?: string }; user?: object }>();
    if (incoming.headers.who) incoming.user = { id: incoming.headers.who };
    return true;
  }
}

const FIX =
  'If a guard sets `user`, it must run before RateLimitGuard: import the module that provides it as APP_GUARD before ' +
  'RateLimitModule. If it is bound with @UseGuards, set RateLimitModule.forRoot({ guard: false }), and bind ' +
  '@UseGuards(AuthGuard, RateLimitGuard)';

/** The user of an HTTP request. */
const userOf = (context: ExecutionContext) => context.switchToHttp().getRequest<{ user?: { id: string } }>().user;

describe.each(ADAPTERS)('byUser on %s', (adapter) => {
  const start = async (metadata: ModuleMetadata, prepare?: (created: INestApplication) => void) => {
    app = await createApp(adapter, metadata, prepare);
    await app.listen(0, '127.0.0.1');
  };
  const statuses = async (...who: string[]) => {
    const codes: number[] = [];
    for (const name of who) codes.push((await request(app?.getHttpServer()).get('/').set('who', name)).status);
    return codes;
  };
  const TWO = { maxRequest: 2, unit: 'minute' } as const;

  /** Creates a controller with a new key for each test, because a key warns only once. */
  const controller = (key = byUser(), guards: (typeof AuthGuard | typeof RateLimitGuard)[] = []) => {
    @UseGuards(...guards)
    @Controller()
    class Notes {
      @RateLimit({ ...TWO, key })
      @Get()
      list() {}
    }
    return Notes;
  };
  const users = ['ada', 'ada', 'ada', 'bob'];

  it('counts by user if a global guard sets the user', async () => {
    const auth = { provide: APP_GUARD, useClass: AuthGuard };
    await start({ imports: [limits()], controllers: [controller()], providers: [auth] });
    expect(await statuses(...users)).toEqual([200, 200, 429, 200]);
    expect(warnings).toEqual([]);
  });

  it('counts by user if both guards are bound to the controller in order', async () => {
    const bound = controller(byUser(), [AuthGuard, RateLimitGuard]);
    await start({ imports: [limits({ guard: false })], controllers: [bound] });
    expect(await statuses(...users)).toEqual([200, 200, 429, 200]);
  });

  it('counts by user if both guards are global, in order', async () => {
    const providers = [AuthGuard, RateLimitGuard].map((useClass) => ({ provide: APP_GUARD, useClass }));
    await start({ imports: [limits({ guard: false })], controllers: [controller()], providers });
    expect(await statuses(...users)).toEqual([200, 200, 429, 200]);
  });

  it('warns once and suggests a fix if a controller guard sets the user too late', async () => {
    await start({ imports: [limits()], controllers: [controller(byUser(), [AuthGuard])] });
    expect(await statuses('ada', 'bob')).toEqual([500, 500]);
    expect(warnings).toEqual([`Notes.list: byUser() found no user. ${FIX}`]);
  });

  it.each<[string, KeyOf, number]>([
    ['without a fallback', byUser('sub'), 500],
    ['with a fallback', byUser('sub', byIp()), 200],
  ])('names the properties of a user that lacks the one for the key: %s', async (_, key, status) => {
    await start({ imports: [limits({ guard: false })], controllers: [controller(key, [AuthGuard, RateLimitGuard])] });
    expect(await statuses('ada', 'bob')).toEqual([status, status]);
    expect(warnings).toEqual([
      "Notes.list: byUser() found `user`, but no `sub` in it: it has id. Pass the property that identifies a user, such as byUser('sub')",
    ]);
  });

  @Module({ providers: [{ provide: APP_GUARD, useClass: AuthGuard }] })
  class AuthModule {}

  it('counts by user if the module of the authentication is imported first, as the warning suggests', async () => {
    await start({ imports: [AuthModule, limits()], controllers: [controller()] });
    expect(await statuses(...users)).toEqual([200, 200, 429, 200]);
    expect(warnings).toEqual([]);
    await app?.close();
    await start({ imports: [limits(), AuthModule], controllers: [controller()] });
    expect(await statuses('ada')).toEqual([500]);
    expect(warnings).toEqual([expect.stringContaining(FIX)]);
  });

  it.each<[string, KeyOf]>([
    ['an optional user', (context) => context.switchToHttp().getRequest<{ user?: { id: string } }>().user?.id],
    ['a user that is resolved later', async (context) => userOf(context)?.id],
    ['an empty string', (context) => userOf(context)?.id ?? ''],
  ])('suggests the fix for keys of the application that find no user: %s', async (_key, key) => {
    await start({ imports: [limits()], controllers: [controller(key, [AuthGuard])] });
    expect(await statuses('ada', 'bob')).toEqual([500, 500]);
    expect(warnings).toEqual([`Policy Notes.list: \`key\` returned nothing, and its function mentions a user. ${FIX}`]);
  });

  it('suggests nothing for keys of the application that do not mention a user', async () => {
    await start({ imports: [limits()], controllers: [controller(() => undefined, [AuthGuard])] });
    expect(await statuses('ada')).toEqual([500]);
    expect(warnings).toEqual([]);
  });

  const TIERS = { policies: { free: TWO }, key: byIp() };
  const tiered = (resolver: PolicyResolver) => {
    @UseGuards(AuthGuard)
    @Controller()
    class Reports {
      @RateLimit(resolver)
      @Get()
      list() {}
    }
    return Reports;
  };

  it.each<[string, () => PolicyResolver]>([
    ['that throws', () => (context) => (userOf(context) as { id: string }).id],
    ['that throws later', () => async (context) => (userOf(context) as { id: string }).id],
    ['that returns nothing', () => (context) => userOf(context)?.id as string],
    [
      'that is a class',
      () =>
        class PlanOfUser {
          resolve = (context: ExecutionContext) => (userOf(context) as { id: string }).id;
        },
    ],
  ])('suggests the fix for a resolver of policies without a user: %s', async (_resolver, create) => {
    const resolver = create();
    const providers = isClass(resolver) ? [resolver as Type] : [];
    await start({ imports: [limits(TIERS)], controllers: [tiered(resolver)], providers });
    expect(await statuses('free', 'free')).toEqual([500, 500]);
    const subject = 'The resolver of @RateLimit on Reports.list';
    expect(warnings).toEqual([`${subject} returned no policy, and it mentions a user. ${FIX}`]);
  });

  it.each<[string, PolicyResolver]>([
    ['does not mention a user', (context) => context.switchToHttp().getRequest<{ plan: { id: string } }>().plan.id],
    [
      'fails for another reason',
      (context) => {
        throw new Error(`No plan of ${userOf(context)?.id}`);
      },
    ],
    ['returns an unknown policy', (context) => userOf(context)?.id ?? 'paid'],
  ])('suggests nothing for a resolver of policies that %s', async (_resolver, resolver) => {
    await start({ imports: [limits(TIERS)], controllers: [tiered(resolver)] });
    expect(await statuses('free')).toEqual([500]);
    expect(warnings).toEqual([]);
  });

  it.each(['controller', 'useGlobalGuards'])(
    'warns once if the fallback key applies because a guard sets the user too late: %s',
    async (place) => {
      const guards = place === 'controller' ? [AuthGuard] : [];
      const metadata = { imports: [limits()], controllers: [controller(byUser('id', byIp()), guards)] };
      await start(metadata, (created) => {
        if (place === 'useGlobalGuards') created.useGlobalGuards(new AuthGuard());
      });
      expect(await statuses('ada')).toEqual([200]);
      await until(() => warnings.length > 0);
      expect(await statuses('bob', 'cyd')).toEqual([200, 429]);
      expect(warnings).toEqual([
        expect.stringMatching(/^Notes\.list: byUser\(\) found no user, but there was one at the end of the request\./),
      ]);
    },
  );

  it('does not warn about anonymous requests', async () => {
    const auth = { provide: APP_GUARD, useClass: AuthGuard };
    await start({ imports: [limits()], controllers: [controller(byUser('id', byIp()))], providers: [auth] });
    expect(await statuses('', '', '', 'ada')).toEqual([200, 200, 429, 200]);
    expect(warnings).toEqual([]);
  });
});

@Controller()
class Open {
  @RateLimit({ maxRequest: 9 })
  @Get()
  get() {}

  @RateLimit({ maxRequest: 9, name: 'by-ip', key: byIp() })
  @Get('by-ip')
  byIp() {}

  @Get('free')
  free() {}
}

describe.each(ADAPTERS)('Proxy warnings on %s', (adapter) => {
  const start = async (trust: unknown, options: RateLimitModuleOptions = {}) => {
    app = await createApp(adapter, { imports: [limits(options)], controllers: [Open] }, undefined, trust);
    await app.listen(0, '127.0.0.1');
  };
  const get = (headers: Record<string, string> = {}, path = '/') =>
    request(app?.getHttpServer()).get(path).set(headers);
  const FORWARDED = { 'X-Forwarded-For': '203.0.113.7, 203.0.113.8' };

  it('are logged at startup if every client is trusted', async () => {
    await start(true);
    expect(warnings).toEqual([
      adapter === 'express'
        ? "`trust proxy` is true, so every client can choose the address that it is limited by. Trust only the addresses of your proxies: app.set('trust proxy', '10.0.0.0/8')"
        : "`trustProxy` is true, so every client can choose the address that it is limited by. Trust only the addresses of your proxies: new FastifyAdapter({ trustProxy: '10.0.0.0/8' })",
    ]);
    await get(FORWARDED);
    expect(warnings).toHaveLength(1);
  });

  it('are logged for trusting every client only once an address is used as a key', async () => {
    await start(true, { key: 'all' });
    await get(FORWARDED);
    expect(warnings).toEqual([]);
    await get(FORWARDED, '/by-ip');
    await get(FORWARDED, '/by-ip');
    expect(warnings).toEqual([expect.stringMatching(/is true, so every client can choose/)]);
  });

  it.each([[{ 'X-Forwarded-For': '203.0.113.7' }], [{ Forwarded: 'for=203.0.113.7' }]])(
    'are logged once if a request with %j comes from an untrusted address',
    async (headers) => {
      await start(undefined);
      await get();
      await get(headers, '/free');
      expect(warnings).toEqual([]);
      await get(headers);
      await get(headers);
      const setting =
        adapter === 'express' ? "app.set('trust proxy', '10.0.0.0/8')" : "FastifyAdapter({ trustProxy: '10.0.0.0/8' })";
      expect(warnings).toEqual([expect.stringContaining(setting)]);
      expect(warnings[0]).toMatch(
        /^Untrusted proxy: a request has `X-Forwarded-For` or `Forwarded`, but its address is not/,
      );
    },
  );

  it('are logged if the setting is a number and the framework does not support it', async () => {
    await start(1);
    await get(FORWARDED);
    // Express counts proxies. This version of Fastify cannot count them, and trusts none.
    expect(warnings).toHaveLength(adapter === 'express' ? 0 : 1);
  });

  it('are not logged for trusted addresses or clients on the same machine', async () => {
    await start('loopback');
    await get(FORWARDED);
    await app?.close();
    await start(undefined);
    await get({ 'X-Forwarded-For': '127.0.0.1' });
    expect(warnings).toEqual([]);
  });
});

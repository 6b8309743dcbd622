import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  type CallHandler,
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  HttpException,
  type INestApplication,
  Injectable,
  Module,
  type NestInterceptor,
  Post,
  Sse,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import {
  BucketService,
  type Decision,
  type DecisionMessage,
  type LimitedResolver,
  RateLimit,
  RateLimitModule,
  type RateLimitModuleOptions,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { map, type Observable, of, retry } from 'rxjs';
import request from 'supertest';
import { COMBINATIONS, createApp } from '../support/create-app.js';
import { clockedStore } from '../support/requests.js';

const ONE = { maxRequest: 1, unit: 'minute' } as const;
const runs: string[] = [];
const called: string[] = [];

/** Returns the name of the policy, and records the call. */
function cached(_context: ExecutionContext, { policy }: Decision) {
  called.push(policy);
  return { cached: policy };
}

@Injectable()
class Pages {
  readonly of = (handler: string) => ({ cached: `page of ${handler}` });
}

@Injectable()
class CachedPage implements LimitedResolver {
  constructor(private readonly pages: Pages) {}

  async resolve(context: ExecutionContext, { retryAfter }: Decision) {
    return { ...this.pages.of(context.getHandler().name), retryAfter };
  }
}

class Auth implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    runs.push('auth');
    return context.switchToHttp().getRequest<{ headers: Record<string, string> }>().headers.auth !== 'no';
  }
}

class Envelope implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((data) => ({ data })));
  }
}

/** Fails if the value is cached, and retries twice. */
class Retry implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(
      map((data) => {
        runs.push('checked');
        if (JSON.stringify(data).includes('cached')) throw new HttpException('stale', 503);
        return data;
      }),
      retry(2),
    );
  }
}

@Controller()
class Resource {
  private ran(handler: string) {
    runs.push(handler);
    return { fresh: true };
  }

  @RateLimit({ ...ONE, onLimited: cached })
  @Get('value')
  value() {
    return this.ran('value');
  }

  @RateLimit({ ...ONE, onLimited: async () => ({ cached: 'later' }) })
  @Get('promise')
  promise() {
    return this.ran('promise');
  }

  @RateLimit({ ...ONE, onLimited: () => of({ cached: 'observed' }) })
  @Get('observable')
  observable() {
    return this.ran('observable');
  }

  @RateLimit({ ...ONE, onLimited: CachedPage })
  @Get('injectable')
  injectable() {
    return this.ran('injectable');
  }

  @RateLimit({ ...ONE, onLimited: () => undefined })
  @Get('nothing')
  nothing() {
    return this.ran('nothing');
  }

  @RateLimit({ ...ONE, onLimited: async () => undefined })
  @Get('nothing-later')
  nothingLater() {
    return this.ran('nothingLater');
  }

  @RateLimit({
    ...ONE,
    onLimited: () => {
      throw new HttpException('busy', 503);
    },
  })
  @Get('throwing')
  throwing() {
    return this.ran('throwing');
  }

  @RateLimit({ maxRequest: 2, unit: 'hour', name: 'hour', onLimited: cached })
  @RateLimit({ ...ONE, name: 'minute', onLimited: cached })
  @Get('two')
  two() {
    return this.ran('two');
  }

  @RateLimit('named')
  @Get('named')
  named() {
    return this.ran('named');
  }

  @RateLimit('of-a-feature')
  @Get('of-a-feature')
  ofAFeature() {
    return this.ran('ofAFeature');
  }

  @RateLimit(() => 'named')
  @Get('told')
  told() {
    return this.ran('told');
  }

  @UseGuards(Auth)
  @UseInterceptors(Envelope)
  @RateLimit({ ...ONE, onLimited: cached })
  @Post('around')
  around() {
    return this.ran('around');
  }

  @UseInterceptors(Retry)
  @RateLimit({ ...ONE, onLimited: cached })
  @Get('retried')
  retried() {
    return this.ran('retried');
  }

  @RateLimit({ capacity: 5, refill: 1, cost: 4, unit: 'hour', name: 'settled', settle: 'failures', onLimited: cached })
  @Get('settled')
  settled() {
    throw new HttpException('no', 404);
  }

  @RateLimit({ ...ONE, dryRun: true, name: 'trial', onLimited: cached })
  @Get('trial')
  trial() {
    return this.ran('trial');
  }

  @RateLimit({ ...ONE, onLimited: () => of({ data: 'old' }, { data: 'older' }) })
  @Sse('events')
  events() {
    return of({ data: 'new' });
  }

  @Get('undecorated')
  undecorated() {
    return this.ran('undecorated');
  }
}

@RateLimit({ ...ONE, onLimited: cached })
@Controller('shared')
class Shared {
  @Get('one')
  one() {}

  @Get('two')
  two() {}
}

@Module({ imports: [RateLimitModule.forFeature({ 'of-a-feature': { ...ONE, onLimited: cached } })] })
class Feature {}

describe.each(COMBINATIONS)('onLimited on $adapter with the $store store', ({ adapter, store }) => {
  let app: INestApplication;
  beforeEach(() => {
    runs.length = 0;
    called.length = 0;
  });
  afterEach(() => app.close());
  const start = async (options: RateLimitModuleOptions = {}) => {
    app = await createApp(adapter, {
      imports: [
        RateLimitModule.forRoot({
          ...clockedStore(store, new FakeClock()),
          policies: { named: { ...ONE, onLimited: cached } },
          ...options,
        }),
        Feature,
      ],
      controllers: [Resource, Shared],
      providers: [Pages, CachedPage],
    });
  };
  const get = (path: string) => request(app.getHttpServer()).get(path);
  const twice = async (path: string) => {
    await get(path);
    return get(path);
  };

  it.each([
    ['value', { cached: 'Resource.value' }],
    ['promise', { cached: 'later' }],
    ['observable', { cached: 'observed' }],
    ['injectable', { cached: 'page of injectable', retryAfter: 60_000 }],
    ['named', { cached: 'named' }],
    ['of-a-feature', { cached: 'of-a-feature' }],
    ['told', { cached: 'named' }],
  ])('responds to /%s with the value of the hook, and does not run the handler', async (path, body) => {
    await start();
    const { status, body: answered, headers } = await twice(`/${path}`);
    expect([status, answered]).toEqual([200, body]);
    expect(runs).toHaveLength(1);
    expect(headers.ratelimit).toMatch(/;r=0;t=60$/);
    expect(headers['ratelimit-policy']).toMatch(/;q=1;w=60$/);
    expect(headers['retry-after']).toBe('60');
  });

  it.each(['nothing', 'nothing-later'])('rejects the request if the hook returns undefined: /%s', async (path) => {
    await start();
    const { status, body, headers } = await twice(`/${path}`);
    expect([status, body, headers['retry-after']]).toEqual([
      429,
      { statusCode: 429, message: 'Too Many Requests' },
      '60',
    ]);
  });

  it('responds with the error that the hook throws', async () => {
    await start();
    const { status, headers } = await twice('/throwing');
    expect([status, headers.ratelimit]).toEqual([503, '"Resource.throwing";r=0;t=60']);
    expect(runs).toEqual(['throwing']);
  });

  it('calls only the hook of the policy that denies the request', async () => {
    await start();
    expect((await get('/two')).body).toEqual({ fresh: true });
    expect(called).toEqual([]);
    expect((await get('/two')).body).toEqual({ cached: 'minute' });
    expect(called).toEqual(['minute']);
  });

  it('applies to all handlers of a decorated class', async () => {
    await start();
    await get('/shared/one');
    expect((await get('/shared/two')).body).toEqual({ cached: 'Shared' });
  });

  it('replaces only the handler: later guards, interceptors, and the status apply', async () => {
    await start();
    const post = (auth: string) => request(app.getHttpServer()).post('/around').set('auth', auth);
    expect((await post('yes')).body).toEqual({ data: { fresh: true } });
    const { status, body } = await post('yes');
    expect([status, body]).toEqual([201, { data: { cached: 'Resource.around' } }]);
    expect((await post('no')).status).toBe(403);
    expect(runs).toEqual(['auth', 'around', 'auth', 'auth']);
  });

  it('responds to each retry of an interceptor, and never runs the handler', async () => {
    await start();
    await get('/retried');
    runs.length = 0;
    expect((await get('/retried')).status).toBe(503);
    expect(runs).toEqual(['checked', 'checked', 'checked']);
  });

  it('takes nothing and settles nothing', async () => {
    await start();
    const bucket = app
      .get(BucketService)
      .bucket({ capacity: 5, refill: 1, unit: 'hour', name: 'settled' }, '127.0.0.1');
    expect((await get('/settled')).status).toBe(404);
    expect(await bucket.available()).toBe(1);
    expect((await get('/settled')).body).toEqual({ cached: 'settled' });
    expect(await bucket.available()).toBe(1);
  });

  it('is not called for a dry-run policy', async () => {
    await start();
    expect((await twice('/trial')).body).toEqual({ fresh: true });
    expect(called).toEqual([]);
  });

  it('streams events in place of an SSE handler', async () => {
    await start();
    expect((await twice('/events')).text).toMatch(/data: old\n[\s\S]*data: older\n/);
  });

  it('uses the hook of the module for policies without one', async () => {
    await start({ policies: { named: ONE }, default: ONE, onLimited: CachedPage });
    expect((await twice('/named')).body).toMatchObject({ cached: 'page of named' });
    expect((await twice('/undecorated')).body).toMatchObject({ cached: 'page of undecorated' });
    expect((await twice('/value')).body).toEqual({ cached: 'Resource.value' });
  });

  it('uses the hook of `default` for undecorated handlers', async () => {
    await start({ default: { ...ONE, onLimited: cached } });
    expect((await twice('/undecorated')).body).toEqual({ cached: 'default' });
  });

  it('publishes one denied decision', async () => {
    await start();
    const decisions: DecisionMessage[] = [];
    const listener = (message: unknown) => void decisions.push(message as DecisionMessage);
    subscribe('nest-rate-limit:decision', listener);
    await twice('/value');
    unsubscribe('nest-rate-limit:decision', listener);
    expect(decisions.map(({ allowed }) => allowed)).toEqual([true, false]);
  });
});

import { afterEach, describe, expect, it } from '@jest/globals';
import {
  type ArgumentsHost,
  Catch,
  Controller,
  type ExceptionFilter,
  type ExecutionContext,
  Get,
  HttpException,
  type INestApplication,
  Injectable,
  type ModuleMetadata,
  Query,
  Sse,
  UseFilters,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import {
  BucketService,
  RateLimit,
  RateLimitModule,
  type RateLimitModuleOptions,
  SuspendableGuard,
  SuspendableInterceptor,
  type SuspendableRequestContext,
  type SuspendableResponseContext,
  TimeUnit,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { of } from 'rxjs';
import request from 'supertest';
import { BrokenStore } from '../support/broken-store.js';
import { createApp, STORES } from '../support/create-app.js';
import { clockedStore, statuses } from '../support/requests.js';

/*
 * RESTEasy's suspendable filters, and its example: a filter for `@RateLimit` built on RateLimitJ and Redis.
 */

let app: INestApplication;
let clock: FakeClock;
afterEach(() => app?.close());

const get = (path: string) => request(app.getHttpServer()).get(path);

async function start(options: RateLimitModuleOptions, metadata: ModuleMetadata): Promise<void> {
  app = await createApp('express', { ...metadata, imports: [RateLimitModule.forRoot(options)] }, undefined, 1);
}

describe('Suspending a request filter', () => {
  /** Performs the action named in the query, immediately or later. */
  class Filter extends SuspendableGuard {
    protected filter(context: SuspendableRequestContext): void {
      const { todo, when } = context.switchToHttp().getRequest<{ query: Record<string, string> }>().query;
      if (when !== 'without suspend') context.suspend();
      const settle = () => {
        if (todo === 'resume') context.resume();
        if (todo === 'abortWith') context.abortWith(new HttpException('rejected by the filter', 429));
        if (todo === 'resume(Throwable)') context.fail(new Failure());
      };
      if (when === 'later') setImmediate(settle);
      else settle();
    }

    override canActivate(...[execution]: Parameters<SuspendableGuard['canActivate']>): boolean | Promise<boolean> {
      const activates = super.canActivate(execution);
      asynchronous = activates instanceof Promise;
      return activates;
    }
  }

  class Failure extends Error {}

  @Catch(Failure)
  class Mapper implements ExceptionFilter {
    catch(_error: Failure, host: ArgumentsHost): void {
      const response = host.switchToHttp().getResponse<{ status(code: number): { send(body: string): void } }>();
      response.status(202).send('mapped');
    }
  }

  @UseFilters(Mapper)
  @UseGuards(Filter)
  @Controller()
  class Resource {
    @Get('sync')
    sync(@Query('todo') todo: string) {
      return `handler after ${todo}`;
    }

    @Get('promise')
    async promise() {
      return 'promised';
    }

    @Get('observable')
    observable() {
      return of('observed');
    }

    @Sse('events')
    events() {
      return of({ data: 'streamed' });
    }
  }

  let asynchronous: boolean | undefined;
  const responseTo = async (todo: string, when: string) => {
    await start({}, { controllers: [Resource] });
    asynchronous = undefined;
    const { status, text } = await get('/sync').query({ todo, when });
    return { status, text, asynchronous };
  };

  it('resume before the filter returns: keeps the request synchronous', async () => {
    expect(await responseTo('resume', 'at once')).toEqual({
      status: 200,
      text: 'handler after resume',
      asynchronous: false,
    });
  });

  it('resume later: makes the request asynchronous, then calls the handler', async () => {
    expect(await responseTo('resume', 'later')).toEqual({
      status: 200,
      text: 'handler after resume',
      asynchronous: true,
    });
  });

  it.each(['at once', 'later', 'without suspend'])('abortWith %s: answers instead of the handler', async (when) => {
    expect(await responseTo('abortWith', when)).toMatchObject({
      status: 429,
      text: JSON.stringify({ statusCode: 429, message: 'rejected by the filter' }),
    });
  });

  it.each(['at once', 'later'])('resume(Throwable) %s: acts like an error thrown by the filter', async (when) => {
    expect(await responseTo('resume(Throwable)', when)).toMatchObject({ status: 202, text: 'mapped' });
  });

  it('resume without suspend: throws', () => {
    class Unsuspended extends SuspendableGuard {
      protected filter(context: SuspendableRequestContext): void {
        context.resume();
      }
    }
    expect(() => new Unsuspended().canActivate({} as ExecutionContext)).toThrow('Cannot resume: not suspended');
  });

  it('works with handlers that return promises, observables and event streams', async () => {
    await start({}, { controllers: [Resource] });
    const later = { todo: 'resume', when: 'later' };
    expect((await get('/promise').query(later)).text).toBe('promised');
    expect((await get('/observable').query(later)).text).toBe('observed');
    expect((await get('/events').query(later)).text).toContain('data: streamed');
  });
});

describe('Suspending a response filter', () => {
  class Stamp extends SuspendableInterceptor {
    protected filterResponse(context: SuspendableResponseContext): void {
      context.suspend();
      const { fails } = context.switchToHttp().getRequest<{ query: Record<string, string> }>().query;
      setImmediate(() => {
        if (fails) return context.fail(new HttpException('the filter failed', 418));
        context.replace({ value: 'rewritten while suspended' });
        return context.resume();
      });
    }
  }

  @UseInterceptors(Stamp)
  @Controller()
  class Resource {
    @Get()
    hello() {
      return 'hello';
    }
  }

  it('replaces the response while suspended and maps a late error, which RESTEasy does not', async () => {
    await start({}, { controllers: [Resource] });
    expect((await get('/')).text).toBe('rewritten while suspended');
    expect((await get('/?fails=1')).body).toEqual({ statusCode: 418, message: 'the filter failed' });
  });
});

@Controller()
class Resource {
  @Get('free')
  free() {
    return 'Hello Free World';
  }

  @RateLimit({ duration: 10, unit: TimeUnit.SECONDS, maxRequest: 2 })
  @Get('limited')
  limited() {
    return 'Hello Limited World';
  }
}

/** Decorated on the class and on one of its methods. */
@RateLimit({ duration: 10, unit: TimeUnit.SECONDS, maxRequest: 3 })
@Controller()
class Annotated {
  @Get('of-the-class')
  ofTheClass() {}

  @RateLimit({ duration: 10, unit: TimeUnit.SECONDS, maxRequest: 1 })
  @Get('own')
  own() {}
}

/** The filter of the example, written with this library. */
@Injectable()
class OverLimitFilter extends SuspendableGuard {
  constructor(private readonly buckets: BucketService) {
    super();
  }

  protected filter(context: SuspendableRequestContext): void {
    const { ip } = context.switchToHttp().getRequest<{ ip: string }>();
    const suspension = context.suspend();
    this.buckets
      .bucket({ duration: 10, maxRequest: 2 }, `ip:${ip}`)
      .tryConsume()
      .then(
        (admits) => (admits ? suspension.resume() : suspension.abortWith(new HttpException('Too Many Requests', 429))),
        (error) => suspension.fail(error),
      );
  }
}

@UseGuards(OverLimitFilter)
@Controller()
class Guarded {
  @Get()
  hello() {}
}

describe.each(STORES)('Example: @RateLimit with the %s store', (store) => {
  const begin = async (...controllers: (typeof Resource | typeof Annotated)[]) => {
    clock = new FakeClock();
    await start(clockedStore(store, clock), { controllers });
  };

  it('allows two requests in 10 seconds to /limited, then answers 429; never limits /free', async () => {
    await begin(Resource);
    expect(await statuses(app, ...new Array<string>(8).fill('/free'))).toEqual(new Array(8).fill(200));
    expect((await get('/limited')).text).toBe('Hello Limited World');
    expect((await get('/limited')).status).toBe(200);
    const third = await get('/limited');
    expect([third.status, third.body.message]).toEqual([429, 'Too Many Requests']);
    await clock.advance(9999);
    expect(await statuses(app, '/limited')).toEqual([429]);
    await clock.advance(1);
    expect(await statuses(app, '/limited', '/limited', '/limited', '/free')).toEqual([200, 200, 429, 200]);
  });

  it('slides the window across the boundary at which RateLimitJ starts a new one', async () => {
    await begin(Resource);
    await clock.advance(9000);
    expect(await statuses(app, '/limited', '/limited')).toEqual([200, 200]);
    await clock.advance(1000); // a multiple of 10 s since 1970
    expect(await statuses(app, '/limited')).toEqual([429]);
    await clock.advance(9000);
    expect(await statuses(app, '/limited')).toEqual([200]);
  });

  it('prefers the decorator of a method over that of its class', async () => {
    await begin(Annotated);
    expect(await statuses(app, '/own', '/own')).toEqual([200, 429]);
    const ofTheClass = new Array<string>(4).fill('/of-the-class');
    expect(await statuses(app, ...ofTheClass)).toEqual([200, 200, 200, 429]);
  });

  it('counts by address and handler; the example counts handlers of equal duration together', async () => {
    await begin(Resource, Annotated);
    const from = async (address: string, path: string) => (await get(path).set('x-forwarded-for', address)).status;
    expect([await from('192.0.2.1', '/own'), await from('192.0.2.1', '/own')]).toEqual([200, 429]);
    expect(await from('192.0.2.2', '/own')).toBe(200);
    expect(await from('192.0.2.1', '/limited')).toBe(200);
  });

  it('limits with a custom filter that suspends, queries the bucket, and resumes or aborts', async () => {
    clock = new FakeClock();
    await start(clockedStore(store, clock), { controllers: [Guarded] });
    expect(await statuses(app, '/', '/', '/')).toEqual([200, 200, 429]);
  });
});

describe('Other features of RateLimitJ', () => {
  const open = async (options: RateLimitModuleOptions = {}) => {
    clock = new FakeClock();
    await start({ ...clockedStore('redis', clock), ...options }, {});
    return app.get(BucketService);
  };

  it('overLimitWhenIncremented: counts weights, but no denied requests', async () => {
    const bucket = (await open()).bucket({ duration: 1, unit: 'minutes', maxRequest: 5 }, 'ip:192.0.2.1');
    expect([await bucket.tryConsume(3), await bucket.tryConsume(3), await bucket.tryConsume(2)]).toEqual([
      true,
      false,
      true,
    ]);
  });

  it('resetLimit: allows requests again', async () => {
    const bucket = (await open()).bucket({ duration: 10, maxRequest: 1 }, 'ip:192.0.2.1');
    expect([await bucket.tryConsume(), await bucket.tryConsume()]).toEqual([true, false]);
    await bucket.reset();
    expect(await bucket.tryConsume()).toBe(true);
  });

  it('fixed window with `refillMode`: admits twice the limit around a boundary', async () => {
    const fixed = { duration: 10, capacity: 2, refill: 2, refillMode: 'intervally' } as const;
    const bucket = (await open()).bucket(fixed, 'ip:192.0.2.1');
    await clock.advance(9999);
    expect([await bucket.tryConsume(2), await bucket.tryConsume()]).toEqual([true, false]);
    await clock.advance(1);
    expect([await bucket.tryConsume(2), await bucket.tryConsume()]).toEqual([true, false]);
  });

  it.each([
    [{ duration: 0, maxRequest: 2 }, '`duration` must be a positive number of `unit`s, got 0'],
    [{ duration: 10, maxRequest: 0 }, '`maxRequest` must be a positive whole number, got 0'],
  ])('rejects the rule %p: %s', async (rule, message) => {
    const buckets = await open();
    expect(() => buckets.bucket(rule, 'ip:192.0.2.1')).toThrow(message);
  });

  it('supports windows shorter than a second, which RateLimitJ does not', async () => {
    const bucket = (await open()).bucket({ duration: 250, unit: 'milliseconds', maxRequest: 1 }, 'ip:192.0.2.1');
    expect([await bucket.tryConsume(), await bucket.tryConsume()]).toEqual([true, false]);
    await clock.advance(250);
    expect(await bucket.tryConsume()).toBe(true);
  });

  it('reportOnly: rejects no requests in a dry run', async () => {
    @Controller()
    class DryRun {
      @RateLimit({ duration: 10, maxRequest: 1, dryRun: true })
      @Get()
      hello() {}
    }
    await start(clockedStore('redis', new FakeClock()), { controllers: [DryRun] });
    expect(await statuses(app, '/', '/', '/')).toEqual([200, 200, 200]);
  });
});

describe('Unavailable store', () => {
  it('DynamicFeature: does not affect undecorated handlers', async () => {
    await start({ store: new BrokenStore(), failure: { mode: 'closed' } }, { controllers: [Resource] });
    expect(await statuses(app, '/free', '/limited')).toEqual([200, 503]);
  });

  it('answers 500 from the custom filter, as in the example', async () => {
    await start({ store: new BrokenStore(), failure: { mode: 'closed' } }, { controllers: [Guarded] });
    expect(await statuses(app, '/')).toEqual([500]);
  });

  it.each([
    ['closed', 503],
    ['open', 200],
    ['local', 200],
  ] as const)('"Assuming under limit": failure mode %s answers %i', async (mode, status) => {
    await start({ store: new BrokenStore(), failure: { mode } }, { controllers: [Resource] });
    expect(await statuses(app, '/limited')).toEqual([status]);
  });
});

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
 * RESTEasy's suspendable container request filters, and its example: a filter for `@RateLimit` on RateLimitJ and Redis.
 */

let app: INestApplication;
let clock: FakeClock;
afterEach(() => app?.close());

const get = (path: string) => request(app.getHttpServer()).get(path);

async function start(options: RateLimitModuleOptions, metadata: ModuleMetadata): Promise<void> {
  app = await createApp('express', { ...metadata, imports: [RateLimitModule.forRoot(options)] }, undefined, 1);
}

describe('Suspending a request filter', () => {
  /** Does to the request what the query asks for, at once or later. */
  class Filter extends SuspendableGuard {
    protected filter(context: SuspendableRequestContext): void {
      const { todo, when } = context.switchToHttp().getRequest<{ query: Record<string, string> }>().query;
      if (when !== 'without suspend') context.suspend();
      const settle = () => {
        if (todo === 'resume') context.resume();
        if (todo === 'abortWith') context.abortWith(new HttpException('refused by the filter', 429));
        if (todo === 'resume(Throwable)') context.fail(new Failure());
      };
      if (when === 'later') setImmediate(settle);
      else settle();
    }

    override canActivate(...[execution]: Parameters<SuspendableGuard['canActivate']>): boolean | Promise<boolean> {
      const passes = super.canActivate(execution);
      asynchronous = passes instanceof Promise;
      return passes;
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
  const answerTo = async (todo: string, when: string) => {
    await start({}, { controllers: [Resource] });
    asynchronous = undefined;
    const { status, text } = await get('/sync').query({ todo, when });
    return { status, text, asynchronous };
  };

  it('resume before the filter returns: the request never becomes asynchronous', async () => {
    expect(await answerTo('resume', 'at once')).toEqual({
      status: 200,
      text: 'handler after resume',
      asynchronous: false,
    });
  });

  it('resume later: the request is asynchronous, and goes on', async () => {
    expect(await answerTo('resume', 'later')).toEqual({
      status: 200,
      text: 'handler after resume',
      asynchronous: true,
    });
  });

  it.each(['at once', 'later', 'without suspend'])('abortWith %s answers instead of the handler', async (when) => {
    expect(await answerTo('abortWith', when)).toMatchObject({
      status: 429,
      text: JSON.stringify({ statusCode: 429, message: 'refused by the filter' }),
    });
  });

  it.each(['at once', 'later'])('resume(Throwable) %s is as if the filter had thrown it', async (when) => {
    expect(await answerTo('resume(Throwable)', when)).toMatchObject({ status: 202, text: 'mapped' });
  });

  it('resume without suspend is a mistake in the filter', () => {
    class Mistaken extends SuspendableGuard {
      protected filter(context: SuspendableRequestContext): void {
        context.resume();
      }
    }
    expect(() => new Mistaken().canActivate({} as ExecutionContext)).toThrow('Cannot resume: not suspended');
  });

  it('is nothing that a handler notices: synchronous, promise, observable, stream of events', async () => {
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

  it('may rewrite the entity meanwhile; an error that comes late is mapped, which RESTEasy does not do', async () => {
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

/** On the class, and on one method of it. */
@RateLimit({ duration: 10, unit: TimeUnit.SECONDS, maxRequest: 3 })
@Controller()
class Annotated {
  @Get('of-the-class')
  ofTheClass() {}

  @RateLimit({ duration: 10, unit: TimeUnit.SECONDS, maxRequest: 1 })
  @Get('own')
  own() {}
}

/** The example's filter, written with the means of this library. */
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
        (passes) => (passes ? suspension.resume() : suspension.abortWith(new HttpException('Too Many Requests', 429))),
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

describe.each(STORES)('Example: @RateLimit, with the counts in %s', (store) => {
  const begin = async (...controllers: (typeof Resource | typeof Annotated)[]) => {
    clock = new FakeClock();
    await start(clockedStore(store, clock), { controllers });
  };

  it('/free is free; /limited answers two requests in 10 seconds, then 429 Too Many Requests', async () => {
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

  it('the window slides, also over the edge where RateLimitJ begins a new one', async () => {
    await begin(Resource);
    await clock.advance(9000);
    expect(await statuses(app, '/limited', '/limited')).toEqual([200, 200]);
    await clock.advance(1000); // a multiple of 10 s since 1970
    expect(await statuses(app, '/limited')).toEqual([429]);
    await clock.advance(9000);
    expect(await statuses(app, '/limited')).toEqual([200]);
  });

  it('the annotation of a method stands instead of that of its class', async () => {
    await begin(Annotated);
    expect(await statuses(app, '/own', '/own')).toEqual([200, 429]);
    const ofTheClass = new Array<string>(4).fill('/of-the-class');
    expect(await statuses(app, ...ofTheClass)).toEqual([200, 200, 200, 429]);
  });

  it('counts by address; handlers of one duration do not count together, which they do in the example', async () => {
    await begin(Resource, Annotated);
    const from = async (address: string, path: string) => (await get(path).set('x-forwarded-for', address)).status;
    expect([await from('192.0.2.1', '/own'), await from('192.0.2.1', '/own')]).toEqual([200, 429]);
    expect(await from('192.0.2.2', '/own')).toBe(200);
    expect(await from('192.0.2.1', '/limited')).toBe(200);
  });

  it('the same filter, written out: it suspends, asks, and resumes or aborts', async () => {
    clock = new FakeClock();
    await start(clockedStore(store, clock), { controllers: [Guarded] });
    expect(await statuses(app, '/', '/', '/')).toEqual([200, 200, 429]);
  });
});

describe('What RateLimitJ offers beside', () => {
  const open = async (options: RateLimitModuleOptions = {}) => {
    clock = new FakeClock();
    await start({ ...clockedStore('redis', clock), ...options }, {});
    return app.get(BucketService);
  };

  it('overLimitWhenIncremented with a weight; a refused one is not counted', async () => {
    const bucket = (await open()).bucket({ duration: 1, unit: 'minutes', maxRequest: 5 }, 'ip:192.0.2.1');
    expect([await bucket.tryConsume(3), await bucket.tryConsume(3), await bucket.tryConsume(2)]).toEqual([
      true,
      false,
      true,
    ]);
  });

  it('geLimitWhenIncremented: the limit is reached when nothing remains', async () => {
    const bucket = (await open()).bucket({ duration: 10, maxRequest: 2 }, 'ip:192.0.2.1');
    expect((await bucket.decide()).remaining).toBe(1);
    expect(await bucket.decide()).toMatchObject({ allowed: true, remaining: 0 });
  });

  it('resetLimit', async () => {
    const bucket = (await open()).bucket({ duration: 10, maxRequest: 1 }, 'ip:192.0.2.1');
    expect([await bucket.tryConsume(), await bucket.tryConsume()]).toEqual([true, false]);
    await bucket.reset();
    expect(await bucket.tryConsume()).toBe(true);
  });

  it('its fixed window, by name: twice the limit may pass around an edge', async () => {
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
  ])('a wrong rule %p is told: %s', async (rule, message) => {
    const buckets = await open();
    expect(() => buckets.bucket(rule, 'ip:192.0.2.1')).toThrow(message);
  });

  it('a window shorter than a second, which its rules cannot say', async () => {
    const bucket = (await open()).bucket({ duration: 250, unit: 'milliseconds', maxRequest: 1 }, 'ip:192.0.2.1');
    expect([await bucket.tryConsume(), await bucket.tryConsume()]).toEqual([true, false]);
    await clock.advance(250);
    expect(await bucket.tryConsume()).toBe(true);
  });

  it('reportOnly: a limit on trial refuses nobody', async () => {
    @Controller()
    class Trial {
      @RateLimit({ duration: 10, maxRequest: 1, dryRun: true })
      @Get()
      hello() {}
    }
    await start(clockedStore('redis', new FakeClock()), { controllers: [Trial] });
    expect(await statuses(app, '/', '/', '/')).toEqual([200, 200, 200]);
  });
});

describe('When the store is away', () => {
  it('DynamicFeature: what is not annotated has no filter, so it does not matter that the store is away', async () => {
    await start({ store: new BrokenStore(), failure: { mode: 'closed' } }, { controllers: [Resource] });
    expect(await statuses(app, '/free', '/limited')).toEqual([200, 503]);
  });

  it('the filter that is written out fails as in the example, with 500, when the store is away', async () => {
    await start({ store: new BrokenStore(), failure: { mode: 'closed' } }, { controllers: [Guarded] });
    expect(await statuses(app, '/')).toEqual([500]);
  });

  it.each([
    ['closed', 503],
    ['open', 200],
    ['local', 200],
  ] as const)('"assuming under limit" is a choice: failure mode %s answers %i', async (mode, status) => {
    await start({ store: new BrokenStore(), failure: { mode } }, { controllers: [Resource] });
    expect(await statuses(app, '/limited')).toEqual([status]);
  });
});

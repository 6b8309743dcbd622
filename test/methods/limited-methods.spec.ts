import { inspect } from 'node:util';
import { describe, expect, it, jest } from '@jest/globals';
import {
  Controller,
  type DynamicModule,
  type ExecutionContext,
  Get,
  type INestApplicationContext,
  Inject,
  Injectable,
  Logger,
  Module,
  type ModuleMetadata,
  type OnModuleInit,
  Scope,
} from '@nestjs/common';
import { ContextIdFactory, LazyModuleLoader, ModuleRef, NestFactory } from '@nestjs/core';
import {
  MemoryStore,
  RateLimit,
  RateLimitExceededException,
  RateLimitModule,
  type RateLimitModuleOptions,
  RateLimitUnavailableException,
  type Resolver,
  SkipRateLimit,
} from 'nest-rate-limit';
import { METHOD_CALLS } from '../../src/policy/limited-method.js';
import { BrokenStore } from '../support/broken-store.js';
import { STORES, storeOptions } from '../support/create-app.js';

const ONE = { maxRequest: 1, unit: 'hour' } as const;
const FREE = { status: 'free' };

/** Starts an application without a server. */
function start(metadata: ModuleMetadata, options: RateLimitModuleOptions = {}): Promise<INestApplicationContext> {
  const imports = [RateLimitModule.forRoot(options), ...(metadata.imports ?? [])];
  return startModule({ module: class AppModule {}, ...metadata, imports } as DynamicModule);
}

function startModule(module: DynamicModule): Promise<INestApplicationContext> {
  Module({})(module.module);
  return NestFactory.createApplicationContext(module, { logger: false, abortOnError: false });
}

/** Calls a method several times at once, and returns the results, or `'denied'`. */
function outcomes(times: number, call: (i: number) => Promise<unknown>): Promise<unknown[]> {
  const calls = Array.from({ length: times }, async (_, i) => call(i));
  return Promise.all(
    calls.map((result) =>
      result.catch((error) => {
        if (error instanceof RateLimitExceededException) return 'denied';
        throw error;
      }),
    ),
  );
}

@Injectable()
class Mail {
  readonly sent: unknown[] = [];

  @RateLimit(ONE)
  async send(to = 'all', _copy?: string): Promise<string> {
    this.sent.push(to);
    return `sent to ${to}`;
  }

  @RateLimit({ ...ONE, key: (context) => context.getArgs<[string]>()[0] })
  async sendEach(to: string): Promise<string> {
    return this.free(to);
  }

  async free(to: string): Promise<string> {
    return `sent to ${to}`;
  }

  async twice(): Promise<string[]> {
    return [await this.send('a'), await this.send('b')];
  }
}

describe.each(STORES)('a limited method of a provider, store %s', (store) => {
  it('is limited by one bucket, with its arguments, result and this', async () => {
    const app = await start({ providers: [Mail] }, storeOptions(store));
    const mail = app.get(Mail);
    expect(await mail.send('a')).toBe('sent to a');
    const error = await mail.send('b').catch((reason) => reason);
    expect(error).toBeInstanceOf(RateLimitExceededException);
    expect(error.decision).toMatchObject({ policy: 'Mail.send', allowed: false, limit: 1 });
    expect(mail.sent).toEqual(['a']);
    await app.close();
  });

  it('has a bucket for each key', async () => {
    const app = await start({ providers: [Mail] }, storeOptions(store));
    const mail = app.get(Mail);
    const all = ['a', 'b', 'a', 'b'];
    expect(await outcomes(4, (i) => mail.sendEach(all[i]))).toEqual(['sent to a', 'sent to b', 'denied', 'denied']);
    await app.close();
  });
});

describe('a limited method', () => {
  it('is not limited without the module, nor on an instance of the application’s own code', async () => {
    const app = await startModule({ module: class AppModule {}, providers: [Mail] });
    for (const mail of [app.get(Mail), new Mail()]) {
      expect(await outcomes(3, () => mail.send())).not.toContain('denied');
    }
    await app.close();
  });

  it('keeps its name, its length and what it is in logs', async () => {
    const app = await start({ providers: [Mail] });
    const mail = app.get(Mail);
    expect([mail.send.name, mail.send.length]).toEqual(['send', 0]);
    expect([mail.sendEach.name, mail.sendEach.length]).toEqual(['sendEach', 1]);
    expect(inspect(mail)).toBe('Mail { sent: [] }');
    expect(mail).toEqual(new Mail());
    await app.close();
  });

  it('counts calls of the same class by `this`', async () => {
    const app = await start({ providers: [Mail] });
    const mail = app.get(Mail);
    await expect(mail.twice()).rejects.toThrow(RateLimitExceededException);
    expect(mail.sent).toEqual(['a']);
    await app.close();
  });

  it('ignores `default`, `key`, `skip` and `onLimited` of the module', async () => {
    const fail = () => {
      throw new Error('must not be called');
    };
    const app = await start({ providers: [Mail] }, { default: ONE, key: fail, skip: () => true, onLimited: fail });
    const mail = app.get(Mail);
    expect(await outcomes(2, () => mail.send())).toEqual(['sent to all', 'denied']);
    expect(await outcomes(3, (i) => mail.free(String(i)))).not.toContain('denied');
    await app.close();
  });

  it('uses a named policy, its own key, and the message of the module', async () => {
    @Injectable()
    class Jobs {
      @RateLimit('slow') async slow() {}
      @RateLimit('each') async each(_id: string) {}
    }
    const key = (context: ExecutionContext) => context.getArgByIndex<string>(0);
    const policies = { slow: ONE, each: { ...ONE, key } };
    const app = await start({ providers: [Jobs] }, { policies, key: () => 'other', message: 'Slow down' });
    const jobs = app.get(Jobs);
    await jobs.slow();
    await expect(jobs.slow()).rejects.toThrow('Slow down');
    await jobs.each('a');
    await jobs.each('b');
    await expect(jobs.each('a')).rejects.toThrow('Slow down');
    await app.close();
  });

  it('gives functions and resolvers a context of type `method`', async () => {
    const seen: unknown[] = [];
    @Injectable()
    class Tenant implements Resolver<string> {
      resolve(context: ExecutionContext) {
        seen.push(context.getType(), context.getClass(), context.getHandler().name, context.getArgs());
        return 'tenant';
      }
    }
    @Injectable()
    class Jobs {
      @RateLimit({ ...ONE, key: Tenant, skip: (context) => context.getArgByIndex(1) === 'skip' })
      async run(_id: number, _mode?: string) {
        return 'done';
      }
    }
    const app = await start({ providers: [Jobs, Tenant] });
    const jobs = app.get(Jobs);
    expect(await jobs.run(1)).toBe('done');
    expect(seen).toEqual(['method', Jobs, 'run', [1]]);
    expect(await outcomes(2, (i) => jobs.run(i, i === 1 ? 'skip' : ''))).toEqual(['denied', 'done']);
    await app.close();
  });

  it('rejects a call without a key, and a key that only requests have', async () => {
    const { byIp } = await import('nest-rate-limit');
    @Injectable()
    class Jobs {
      @RateLimit({ ...ONE, key: () => undefined }) async none() {}
      @RateLimit({ ...ONE, key: byIp() }) async address() {}
    }
    const app = await start({ providers: [Jobs] });
    const jobs = app.get(Jobs);
    await expect(jobs.none()).rejects.toThrow('The key of policy Jobs.none must be a non-empty string');
    await expect(jobs.address()).rejects.toThrow('The key of policy Jobs.address must be a non-empty string');
    await app.close();
  });

  it('combines several decorators, also around one of another library, and takes once', async () => {
    const Other: MethodDecorator = (_target, _property, descriptor) => {
      const original = descriptor.value as unknown as (...args: unknown[]) => unknown;
      descriptor.value = function (this: unknown, ...args: unknown[]) {
        return original.apply(this, args);
      } as never;
    };
    @Injectable()
    class Jobs {
      @RateLimit({ ...ONE, maxRequest: 3, name: 'three' })
      @Other
      @RateLimit({ ...ONE, maxRequest: 2, name: 'two' })
      async run() {
        return 'done';
      }
    }
    const app = await start({ providers: [Jobs] });
    const jobs = app.get(Jobs);
    expect(await outcomes(3, () => jobs.run())).toEqual(['done', 'done', 'denied']);
    await app.close();
  });

  it('rejects in failure mode `closed`, and only counts in a dry run', async () => {
    @Injectable()
    class Jobs {
      @RateLimit(ONE) async closed() {}
      @RateLimit({ ...ONE, onStoreError: 'open' }) async open() {
        return 'done';
      }
      @RateLimit({ ...ONE, dryRun: true }) async dryRun() {
        return 'done';
      }
    }
    const app = await start({ providers: [Jobs] }, { store: new BrokenStore(), failure: { mode: 'closed' } });
    await expect(app.get(Jobs).closed()).rejects.toThrow(RateLimitUnavailableException);
    expect(await app.get(Jobs).open()).toBe('done');
    await app.close();
    const other = await start({ providers: [Jobs] });
    expect(await outcomes(2, () => other.get(Jobs).dryRun())).toEqual(['done', 'done']);
    await other.close();
  });

  it('is limited in a module that is loaded lazily', async () => {
    @Module({ providers: [Mail] })
    class LazyModule {}
    const app = await start({});
    const lazy = await app.get(LazyModuleLoader).load(() => LazyModule);
    expect(await outcomes(2, () => lazy.get(Mail).send())).toEqual(['sent to all', 'denied']);
    await app.close();
  });

  it('is limited by decorators that are applied as functions, or together', async () => {
    const { applyDecorators } = await import('@nestjs/common');
    @Injectable()
    class Jobs {
      async applied() {
        return 'done';
      }

      @applyDecorators(RateLimit(ONE))
      async together() {
        return 'done';
      }
    }
    const descriptor = Object.getOwnPropertyDescriptor(Jobs.prototype, 'applied') as PropertyDescriptor;
    RateLimit(ONE)(Jobs.prototype, 'applied', descriptor);
    const app = await start({ providers: [Jobs] });
    const jobs = app.get(Jobs);
    expect(await outcomes(2, () => jobs.applied())).toEqual(['done', 'denied']);
    expect(await outcomes(2, () => jobs.together())).toEqual(['done', 'denied']);
    await app.close();
  });

  it('is not limited below `@SkipRateLimit`, and remains synchronous', async () => {
    @Injectable()
    class Jobs {
      @SkipRateLimit() @RateLimit(ONE) run() {
        return FREE;
      }
    }
    const app = await start({ providers: [Jobs] });
    const jobs = app.get(Jobs);
    expect([jobs.run(), jobs.run()]).toEqual([FREE, FREE]);
    await app.close();
  });

  it('returns what `onLimited` of its policy returns, and settles its cost by its result', async () => {
    @Injectable()
    class Jobs {
      @RateLimit({ ...ONE, onLimited: (_context, decision) => `retry after ${decision.limit}` })
      async run() {
        return 'done';
      }

      @RateLimit({ ...ONE, settle: 'failures' })
      async check(ok: boolean) {
        if (!ok) throw new Error('wrong');
        return 'right';
      }
    }
    const app = await start({ providers: [Jobs] });
    const jobs = app.get(Jobs);
    expect(await outcomes(2, () => jobs.run())).toEqual(['done', 'retry after 1']);
    for (let i = 0; i < 3; i++) expect(await jobs.check(true)).toBe('right');
    await expect(jobs.check(false)).rejects.toThrow('wrong');
    expect(await outcomes(1, () => jobs.check(true))).toEqual(['denied']);
    await app.close();
  });
});

describe('the instances of a class with limited methods', () => {
  class Base {
    @RateLimit(ONE) async run(): Promise<string> {
      return 'base';
    }
  }
  @Injectable()
  class Inherits extends Base {}
  @Injectable()
  class Overrides extends Base {
    override async run() {
      return `sub of ${await super.run()}`;
    }
  }

  it('have buckets by their class, also for inherited methods and by `super`', async () => {
    const app = await start({ providers: [Inherits, Overrides, { provide: Base, useClass: Base }] });
    const [inherits, overrides, base] = [app.get(Inherits), app.get(Overrides), app.get(Base)];
    expect(await outcomes(2, () => inherits.run())).toEqual(['base', 'denied']);
    expect(await outcomes(2, () => overrides.run())).toEqual(['sub of base', 'denied']);
    // The method of the base class itself, which `super` has called.
    expect(await outcomes(1, () => base.run())).toEqual(['denied']);
    await app.close();
  });

  it('are limited in any scope', async () => {
    @Injectable({ scope: Scope.TRANSIENT })
    class Transient extends Base {}
    @Injectable({ scope: Scope.REQUEST })
    class PerRequest extends Base {}
    @Injectable()
    class User {
      constructor(readonly transient: Transient) {}
    }
    const app = await start({ providers: [Transient, PerRequest, User] });
    const ref = app.get(ModuleRef);
    const instances = [app.get(User).transient, await ref.resolve(Transient, undefined, { strict: false })];
    expect(await outcomes(2, (i) => instances[i].run())).toEqual(['base', 'denied']);
    const perRequest = await Promise.all(
      [1, 2].map(() => ref.resolve(PerRequest, ContextIdFactory.create(), { strict: false })),
    );
    expect(await outcomes(2, (i) => perRequest[i].run())).toEqual(['base', 'denied']);
    await app.close();
  });

  it('are limited if factories return them, or they are values', async () => {
    class Made extends Base {}
    class MadePerRequest extends Base {}
    class Value extends Base {}
    const app = await start({
      providers: [
        { provide: 'made', useFactory: async () => new Made() },
        { provide: 'per request', scope: Scope.REQUEST, useFactory: () => new MadePerRequest() },
        { provide: 'value', useValue: new Value() },
        { provide: 'alias', useExisting: 'made' },
      ],
    });
    const ref = app.get(ModuleRef);
    const perRequest = await Promise.all(
      [1, 2].map(() => ref.resolve<Base>('per request', ContextIdFactory.create(), { strict: false })),
    );
    expect(await outcomes(2, () => app.get<Base>('made').run())).toEqual(['base', 'denied']);
    expect(await outcomes(1, () => app.get<Base>('alias').run())).toEqual(['denied']);
    expect(await outcomes(2, (i) => perRequest[i].run())).toEqual(['base', 'denied']);
    expect(await outcomes(2, () => app.get<Base>('value').run())).toEqual(['base', 'denied']);
    await app.close();
  });

  it('stop the start if they are frozen, or shared by two applications', async () => {
    const frozen = { provide: 'frozen', useValue: Object.freeze(new Inherits()) };
    await expect(start({ providers: [frozen] })).rejects.toThrow(
      'Invalid @RateLimit on methods of Inherits: their calls can only be limited on an instance that can be extended',
    );
    const shared = { provide: 'shared', useValue: new Inherits() };
    const first = await start({ providers: [shared] });
    await expect(start({ providers: [shared] })).rejects.toThrow(
      'Invalid @RateLimit on methods of Inherits: two applications share one instance',
    );
    await first.close();
    const second = await start({ providers: [shared] });
    expect(await outcomes(2, () => shared.useValue.run())).toEqual(['base', 'denied']);
    await second.close();
  });

  it('belong to their application', async () => {
    const apps = await Promise.all([start({ providers: [Inherits] }), start({ providers: [Inherits] })]);
    for (const app of apps) expect(await outcomes(2, () => app.get(Inherits).run())).toEqual(['base', 'denied']);
    await Promise.all(apps.map((app) => app.close()));
  });

  it('are limited in modules that cannot see the module, or stop the start', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class PerRequest extends Base {}
    @Module({ providers: [Inherits] })
    class Feature {}
    @Module({ providers: [PerRequest] })
    class PerRequestFeature {}
    const limits = RateLimitModule.forRoot({ isGlobal: false });
    const app = await startModule({ module: class AppModule {}, imports: [limits, Feature] });
    expect(await outcomes(2, () => app.get(Inherits, { strict: false }).run())).toEqual(['base', 'denied']);
    await app.close();
    await expect(startModule({ module: class AppModule {}, imports: [limits, PerRequestFeature] })).rejects.toThrow(
      'Invalid @RateLimit on methods of PerRequest: a module whose providers are created per request must import ' +
        'RateLimitModule, got PerRequestFeature',
    );
  });

  it('are not limited by mocks of a testing module', async () => {
    const { Test } = await import('@nestjs/testing');
    const mock = new Proxy(() => {}, { get: (_target, name) => (name === 'then' ? undefined : () => 'mock') });
    const module = await Test.createTestingModule({ providers: [Inherits] })
      .useMocker(() => mock)
      .compile();
    expect(await module.get(Inherits).run()).toBe('base');
  });
});

describe('a limited method that is called before the application has started', () => {
  it('waits, and is then limited', async () => {
    const early: Promise<string>[] = [];
    @Injectable()
    class Eager implements OnModuleInit {
      constructor(private readonly mail: Mail) {
        early.push(mail.send('constructor'));
      }

      async onModuleInit() {
        early.push(this.mail.send('hook'));
      }
    }
    const options = { inject: [Mail], useFactory: () => ({ store: new MemoryStore() }) };
    const app = await startModule({
      module: class AppModule {},
      // The options themselves depend on the provider.
      imports: [RateLimitModule.forRootAsync({ ...options, imports: [mailModule()] }), mailModule()],
      providers: [Eager],
    });
    expect(await outcomes(2, (i) => early[i])).toEqual(['sent to constructor', 'denied']);
    await app.close();
  });

  it('rejects if the application does not start', async () => {
    let call: Promise<unknown> | undefined;
    @Injectable()
    class Eager {
      constructor(@Inject(Mail) mail: Mail) {
        call = mail.send();
        call.catch(() => {});
      }

      @RateLimit({ capacity: -1, refill: 1 }) async invalid() {}
    }
    const failure = 'Invalid @RateLimit on Eager.invalid: `capacity` must be';
    await expect(start({ providers: [Mail, Eager] })).rejects.toThrow(failure);
    await expect(call).rejects.toThrow(failure);
  });
});

it('warns about a call that waits long for the application to start', async () => {
  const { MethodRuntime } = await import('../../src/methods/method-runtime.js');
  jest.useFakeTimers();
  const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
  const runtime = new MethodRuntime();
  const mail = new Mail();
  Object.assign(mail, { [METHOD_CALLS]: runtime });
  const calls = [mail.send('a'), mail.send('b')];
  jest.advanceTimersByTime(10_000);
  jest.useRealTimers();
  expect(warn.mock.calls).toEqual([
    [
      'A call of Mail.send waits for the application to start. If a factory or a hook awaits the call, it waits forever: ' +
        'do not await it there',
    ],
  ]);
  warn.mockRestore();
  runtime.fail(new Error('not started'));
  for (const call of calls) await expect(call).rejects.toThrow('not started');
});

const mailModule = (() => {
  @Module({ providers: [Mail], exports: [Mail] })
  class MailModule {}
  return () => MailModule;
})();

describe('the return type of a limited method', () => {
  const invalid = (found: string) =>
    `a limited method must return a promise, because its calls may be queued, got ${found}. Make it async`;

  it('stops the start unless it is a promise', async () => {
    const { Observable } = await import('rxjs');
    @Injectable()
    class Streams {
      @RateLimit(ONE) watch(): InstanceType<typeof Observable> {
        return new Observable();
      }
    }
    Reflect.defineMetadata('design:returntype', Observable, Streams.prototype, 'watch');
    @Injectable()
    class Texts {
      @RateLimit(ONE) text(): string {
        return '';
      }
    }
    @Injectable()
    class Rows {
      @RateLimit(ONE) async *rows() {}
    }
    await expect(start({ providers: [Streams] })).rejects.toThrow(
      `Invalid @RateLimit on Streams.watch: ${invalid('Observable')}`,
    );
    await expect(start({ providers: [Texts] })).rejects.toThrow(invalid('String'));
    await expect(start({ providers: [Rows] })).rejects.toThrow(invalid('AsyncGeneratorFunction'));
  });

  it('may be a union, a subclass of Promise, or undeclared', async () => {
    class Task<T> extends Promise<T> {}
    @Injectable()
    class Jobs {
      @RateLimit(ONE) maybe(): Promise<string> | string {
        return 'maybe';
      }

      @RateLimit(ONE) task(): Task<string> {
        return Task.resolve('task');
      }

      @RateLimit(ONE) undeclared() {
        return 'undeclared';
      }
    }
    const app = await start({ providers: [Jobs] });
    const jobs = app.get(Jobs);
    expect(await Promise.all([jobs.maybe(), jobs.task(), jobs.undeclared()])).toEqual(['maybe', 'task', 'undeclared']);
    expect(await outcomes(1, () => jobs.undeclared() as unknown as Promise<string>)).toEqual(['denied']);
    await app.close();
  });
});

it('does not limit direct calls of routed methods, and a request to one only once', async () => {
  @Controller()
  class Users {
    @RateLimit({ ...ONE, maxRequest: 2, key: 'all' }) @Get('below') below() {
      return 'below';
    }

    @Get('above') @RateLimit({ ...ONE, maxRequest: 2, key: 'all' }) above() {
      return 'above';
    }
  }
  const { createApp } = await import('../support/create-app.js');
  const { statuses } = await import('../support/requests.js');
  const app = await createApp('express', { imports: [RateLimitModule.forRoot()], controllers: [Users] });
  const users = app.get(Users);
  for (let i = 0; i < 5; i++) expect([users.below(), users.above()]).toEqual(['below', 'above']);
  expect(await statuses(app, '/below', '/below', '/below')).toEqual([200, 200, 429]);
  expect(await statuses(app, '/above', '/above', '/above')).toEqual([200, 200, 429]);
  await app.close();
});

import { afterEach, describe, expect, it } from '@jest/globals';
import {
  Controller,
  type ExecutionContext,
  Get,
  type INestApplicationContext,
  Injectable,
  Module,
  SetMetadata,
  type Type,
} from '@nestjs/common';
import { ExternalContextCreator, LazyModuleLoader, NestFactory } from '@nestjs/core';
import {
  ClientProxyFactory,
  MessagePattern,
  type MicroserviceOptions,
  type TcpClientOptions,
  Transport,
} from '@nestjs/microservices';
import { ExpressAdapter } from '@nestjs/platform-express';
import { Test } from '@nestjs/testing';
import {
  BucketService,
  MemoryStore,
  RateLimit,
  RateLimitExceededException,
  RateLimitGuard,
  RateLimitModule,
  RateLimitOptionError,
  RateLimitStore,
  type Resolver,
} from 'nest-rate-limit';
import { lastValueFrom } from 'rxjs';
import { freePort } from '../support/redis.js';
import { statuses } from '../support/requests.js';

const ONE = { maxRequest: 1, unit: 'hour', key: 'all' } as const;

let calls = 0;
@Injectable()
class LazyKey implements Resolver<string> {
  readonly resolve = () => `key ${++calls}`;
}

@Injectable()
class Exports {
  constructor(private readonly buckets: BucketService) {}

  take(policy: string): Promise<boolean> {
    return this.buckets.bucket(policy, 'all').tryConsume();
  }

  @RateLimit('exports')
  @SetMetadata('queue', 'exports')
  handle() {
    return 'handled';
  }

  @RateLimit('by-lazy-key')
  @SetMetadata('queue', 'keys')
  byKey() {
    return 'handled';
  }
}

const feature = RateLimitModule.forFeature({ exports: ONE, 'by-lazy-key': { ...ONE, key: LazyKey } });
@Module({ imports: [feature], providers: [Exports, LazyKey] })
class LazyModule {}

@Controller()
class Resource {
  @RateLimit(ONE)
  @Get('own')
  own() {}

  @RateLimit(
    (context: ExecutionContext) => context.switchToHttp().getRequest<{ query: { policy: string } }>().query.policy,
  )
  @Get('named')
  named() {}

  @RateLimit(ONE)
  @MessagePattern('message')
  message() {
    return 'Hello';
  }
}

@Module({ imports: [RateLimitModule.forRoot()], controllers: [Resource] })
class AppModule {}

let open: INestApplicationContext[] = [];
afterEach(async () => {
  for (const app of open) await app.close();
  open = [];
});

async function create() {
  const app = await NestFactory.create(AppModule, new ExpressAdapter(), { logger: false, abortOnError: false });
  open.push(app);
  return app.init();
}

const load = (app: INestApplicationContext, module: unknown) => app.get(LazyModuleLoader).load(() => module as Type);

describe('forFeature in a lazily loaded module', () => {
  it('adds policies for BucketService', async () => {
    const app = await create();
    const exports = (await load(app, LazyModule)).get(Exports);
    expect([await exports.take('exports'), await exports.take('exports')]).toEqual([true, false]);
  });

  it('adds policies for handlers that name them per request', async () => {
    const app = await create();
    expect(await statuses(app, '/named?policy=exports')).toEqual([500]);
    await load(app, LazyModule);
    expect(await statuses(app, '/named?policy=exports', '/named?policy=exports')).toEqual([200, 429]);
  });

  it('adds policies for its own handlers, with its own resolvers', async () => {
    const app = await create();
    const exports = (await load(app, LazyModule)).get(Exports);
    const creator = app.get(ExternalContextCreator);
    const [handle, byKey] = (['handle', 'byKey'] as const).map((name) => {
      const method = exports[name];
      return creator.create(exports, method, name, undefined, undefined, undefined, undefined, undefined, 'queue');
    });
    expect(await handle()).toBe('handled');
    await expect(handle()).rejects.toThrow(RateLimitExceededException);
    for (let i = 0; i < 2; i++) expect(await byKey()).toBe('handled');
    expect(calls).toBe(2);
  });

  it('adds its policies once if it is loaded twice', async () => {
    const app = await create();
    for (let i = 0; i < 2; i++) await load(app, LazyModule);
  });

  it.each([
    [{ wrong: { capacity: 0, refill: 1 } }, 'policies.wrong: `capacity` must be a positive number, got 0'],
    [{ exports: { ...ONE } }, 'policies.exports: another policy in `forRoot` or `forFeature` has this name'],
  ])('rejects invalid policies: %p', async (policies, message) => {
    const app = await create();
    await load(app, LazyModule);
    const loading = load(app, RateLimitModule.forFeature(policies));
    await expect(loading).rejects.toThrow(new RateLimitOptionError(`Invalid RateLimitModule.forFeature: ${message}`));
  });
});

describe('The module in an application', () => {
  it('binds no guard in an application context, and provides BucketService', async () => {
    const app = await NestFactory.createApplicationContext(AppModule, { logger: false, abortOnError: false });
    open.push(app);
    const bucket = app.get(BucketService).bucket({ capacity: 1, refill: 1, unit: 'hour' }, 'all');
    expect([await bucket.tryConsume(), await bucket.tryConsume()]).toEqual([true, false]);
  });

  it('limits the messages of a microservice', async () => {
    const tcp = { transport: Transport.TCP as const, options: { host: '127.0.0.1', port: await freePort() } };
    const options = { ...tcp, logger: false, abortOnError: false } as const;
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(AppModule, options);
    open.push(app);
    await app.listen();
    const client = ClientProxyFactory.create(tcp);
    const send = () => lastValueFrom(client.send('message', {})).catch(({ message }: Error) => message);
    expect([await send(), await send()]).toEqual(['Hello', 'Too Many Requests']);
    await client.close();
  });

  it('keeps the buckets of two applications in one process apart', async () => {
    const [one, other] = [await create(), await create()];
    expect(await statuses(one, '/own', '/own')).toEqual([200, 429]);
    expect(await statuses(other, '/own', '/own')).toEqual([200, 429]);
  });

  it('uses the store that a test overrides', async () => {
    const store = new MemoryStore();
    const testing = Test.createTestingModule({ imports: [AppModule] }).overrideProvider(RateLimitStore);
    const app = (await testing.useValue(store).compile()).createNestApplication(new ExpressAdapter(), {
      logger: false,
    });
    open.push(app);
    await app.init();
    expect(await statuses(app, '/own', '/own')).toEqual([200, 429]);
    expect(store.size).toBe(1);
  });

  it('uses the guard that a test overrides, for requests and messages', async () => {
    const tcp: TcpClientOptions = { transport: Transport.TCP, options: { host: '127.0.0.1', port: await freePort() } };
    const testing = Test.createTestingModule({ imports: [AppModule] }).overrideProvider(RateLimitGuard);
    const module = await testing.useValue({ canActivate: () => true }).compile();
    const app = module.createNestApplication(new ExpressAdapter(), { logger: false });
    open.push(app);
    app.connectMicroservice(tcp);
    await app.startAllMicroservices();
    await app.init();
    expect(await statuses(app, '/own', '/own')).toEqual([200, 200]);
    const client = ClientProxyFactory.create(tcp);
    const send = () => lastValueFrom(client.send('message', {}));
    expect([await send(), await send()]).toEqual(['Hello', 'Hello']);
    await client.close();
  });
});

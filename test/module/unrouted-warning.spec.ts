import { afterEach, describe, expect, it, jest } from '@jest/globals';
import {
  All,
  Controller,
  Get,
  Injectable,
  Logger,
  type ModuleMetadata,
  Post,
  SetMetadata,
  Sse,
  UseGuards,
} from '@nestjs/common';
import { ExternalContextCreator } from '@nestjs/core';
import { Query, ResolveField, Resolver } from '@nestjs/graphql';
import { EventPattern, MessagePattern } from '@nestjs/microservices';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { RateLimit, RateLimitExceededException, RateLimitModule, SkipRateLimit } from 'nest-rate-limit';
import { EMPTY } from 'rxjs';
import { createApp } from '../support/create-app.js';
import { statuses } from '../support/requests.js';

const ONE = { maxRequest: 1, unit: 'hour', key: 'all' } as const;
const ROUTE = 'Add a route decorator such as @Get; if another decorator defines the routes, apply it above @RateLimit';

afterEach(() => {
  jest.restoreAllMocks();
});

/** Starts an application, and returns what it warned of. */
async function start(metadata: ModuleMetadata) {
  const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
  const app = await createApp('express', { ...metadata, imports: [RateLimitModule.forRoot()] });
  return {
    app,
    warnings: warn.mock.calls.map(([message]) => String(message)).filter((line) => line.startsWith('@RateLimit')),
  };
}

async function warningsOf(metadata: ModuleMetadata): Promise<string[]> {
  const { app, warnings } = await start(metadata);
  await app.close();
  return warnings;
}

/** Defines a route by a method of its own, which calls the decorated one and has a copy of its metadata. */
function Routes(path: string): MethodDecorator {
  return (target, property, descriptor) => {
    const original = descriptor.value as unknown as (...args: unknown[]) => unknown;
    const name = `${String(property)}_${path}`;
    const value = function (this: unknown, ...args: unknown[]) {
      return original.apply(this, args);
    };
    Object.defineProperty(target, name, { value, configurable: true, writable: true });
    Get(path)(target, name, { value });
    for (const key of Reflect.getMetadataKeys(original)) {
      Reflect.defineMetadata(key, Reflect.getMetadata(key, original), value);
    }
  };
}

describe('Warning about limits without a guard', () => {
  it('names the methods of controllers, resolvers and gateways that are not routed', async () => {
    @UseGuards({ canActivate: () => true })
    @Controller('users')
    class Users {
      @RateLimit(ONE) @Get() list() {}
      @RateLimit(ONE) forgotten() {}
      @RateLimit(ONE) @SetMetadata('roles', 'admin') typo() {}
    }
    @WebSocketGateway()
    class Chat {
      @RateLimit(ONE) handleConnection() {}
    }
    @Resolver()
    class Books {
      @RateLimit(ONE) helper() {}
    }
    expect(await warningsOf({ controllers: [Users], providers: [Chat, Books] })).toEqual([
      '@RateLimit limits only direct calls of Users.forgotten, Users.typo, Chat.handleConnection, Books.helper: ' +
        `no guard runs there. ${ROUTE}`,
    ]);
  });

  it('names a method whose routes were defined below its limit, and none above', async () => {
    @Controller('low')
    class Low {
      @RateLimit(ONE) @Routes('get') handler() {}
    }
    @Controller('high')
    class High {
      @Routes('get') @RateLimit(ONE) handler() {}
    }
    const { app, warnings } = await start({ controllers: [Low, High] });
    const codes = await statuses(app, '/low/get', '/low/get', '/high/get', '/high/get');
    await app.close();
    expect(codes).toEqual([200, 200, 200, 429]);
    expect(warnings).toEqual([`@RateLimit limits only direct calls of Low.handler: no guard runs there. ${ROUTE}`]);
  });

  it('names a route of a provider that is no controller, and not the methods that it calls itself', async () => {
    @Injectable()
    class Jobs {
      @RateLimit(ONE) @SetMetadata('SCHEDULE_CRON_OPTIONS', {}) async nightly() {}
      @RateLimit(ONE) @SetMetadata('EVENT_LISTENER_METADATA', {}) async created() {}
      @RateLimit(ONE) async process() {}
      @RateLimit(ONE) @Get() notInAController() {}
      @SkipRateLimit() free() {}
    }
    expect(await warningsOf({ providers: [Jobs] })).toEqual([
      `@RateLimit has no effect on Jobs.notInAController: no guard runs there. ${ROUTE}`,
    ]);
  });

  it('names a controller without routes', async () => {
    @RateLimit(ONE)
    @Controller()
    class Empty {
      helper() {}
    }
    expect(await warningsOf({ controllers: [Empty] })).toEqual([
      `@RateLimit has no effect on Empty: no guard runs there. ${ROUTE}`,
    ]);
  });

  it('stops the start for a limit on a class without handlers', async () => {
    @RateLimit(ONE)
    @Injectable()
    class Worker {
      async process() {}
    }
    await expect(start({ providers: [Worker] })).rejects.toThrow(
      'Invalid @RateLimit on Worker: on a class it limits the handlers of a controller, resolver or gateway, got a ' +
        'class without any. Apply it to each method',
    );
  });

  it('does not mention handlers of any transport', async () => {
    @Controller()
    class Handlers {
      @RateLimit(ONE) @Get() get() {}
      @RateLimit(ONE) @Post() post() {}
      @RateLimit(ONE) @All('all') all() {}
      @RateLimit(ONE) @Sse('sse') sse() {
        return EMPTY;
      }
      @RateLimit(ONE) @MessagePattern('message') message() {}
      @RateLimit(ONE) @EventPattern('event') event(_data: unknown) {}
    }
    @WebSocketGateway()
    class Chat {
      @RateLimit(ONE) @SubscribeMessage('say') say(@MessageBody() _text: unknown) {}
    }
    @Resolver()
    class Books {
      @RateLimit(ONE) @Query(() => String) book() {}
      @RateLimit(ONE) @ResolveField(() => String) author() {}
    }
    @RateLimit(ONE)
    @Controller('class')
    class Limited {
      @SkipRateLimit() @Get('free') free() {}
      @RateLimit(ONE) @Get('own') own() {}
    }
    expect(await warningsOf({ controllers: [Handlers, Limited], providers: [Chat, Books] })).toEqual([]);
  });

  it('does not mention methods of base classes that a subclass routes', async () => {
    class Crud {
      @RateLimit(ONE) list() {}
    }
    @Controller('users')
    class Users extends Crud {}
    Get()(Users.prototype, 'list', Object.getOwnPropertyDescriptor(Crud.prototype, 'list') as PropertyDescriptor);
    @RateLimit(ONE)
    class Limited {
      helper() {}
    }
    @Controller('posts')
    class Posts extends Limited {
      @Get() list() {}
    }
    expect(await warningsOf({ controllers: [Users, Posts], providers: [Crud, Limited] })).toEqual([]);
  });

  it('does not mention providers for which another library may run guards', async () => {
    @Injectable()
    class Bot {
      @RateLimit(ONE) @SetMetadata('bot:command', '/start') start() {}
      @RateLimit(ONE) @UseGuards({ canActivate: () => true }) guarded() {}
    }
    expect(await warningsOf({ providers: [Bot] })).toEqual([]);
  });
});

it('limits a bound method that another library passes to ExternalContextCreator', async () => {
  @Injectable()
  class Consumer {
    @RateLimit(ONE)
    @SetMetadata('consumer:queue', 'mail')
    handle() {
      return 'handled';
    }

    @RateLimit({ ...ONE, maxRequest: 2 })
    @SetMetadata('consumer:queue', 'sms')
    other() {
      return 'handled';
    }
  }
  const { app } = await start({ providers: [Consumer] });
  const consumer = app.get(Consumer);
  const create = (method: () => string, name: string) =>
    app
      .get(ExternalContextCreator)
      .create(consumer, method.bind(consumer), name, undefined, undefined, undefined, undefined, undefined, 'queue');
  const handle = create(consumer.handle, 'handle');
  const other = create(consumer.other.bind(consumer) as () => string, 'other');
  await handle({});
  await expect(handle({})).rejects.toThrow(RateLimitExceededException);
  for (let i = 0; i < 2; i++) expect(await other({})).toBe('handled');
  await expect(other({})).rejects.toThrow(RateLimitExceededException);
  await app.close();
});

import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Controller, type ControllerOptions, Get, Injectable, Logger, Post, type Type } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import {
  MemoryStore,
  RateLimit,
  RateLimitModule,
  type RateLimitModuleOptions,
  RateLimitOptionError,
  type RateLimitOptions,
} from 'nest-rate-limit';
import { nameClasses } from '../../src/policy/class-names.js';
import type { ExploredClass, Handler } from '../../src/policy/explorer.js';
import { createApp } from '../support/create-app.js';
import { FarStore } from '../support/far-store.js';

/** A class as the explorer finds it. */
function explored(type: Type, moduleName = 'Team'): ExploredClass {
  const methods = Object.getOwnPropertyNames(type.prototype)
    .filter((property) => property !== 'constructor')
    .map((property) => {
      const method = type.prototype[property] as Handler;
      return { type, property, method, isDecorated: true, declared: undefined };
    });
  return { type, moduleName, isController: true, declared: undefined, methods };
}

function controllerAt(path: string | string[] | ControllerOptions): Type {
  @Controller(path as string)
  class Users {
    @Get('list') list() {}
  }
  return Users;
}

function gateway(decorator: ClassDecorator, message: string): Type {
  @decorator
  class Users {
    @SubscribeMessage(message) say(@MessageBody() _text: unknown) {}
  }
  return Users;
}

function service(pattern: unknown): Type {
  @Controller()
  class Users {
    @MessagePattern(pattern) handle() {}
  }
  return Users;
}

@Controller()
class Verb {
  @Post('list') list() {}
}
Object.defineProperty(Verb, 'name', { value: 'Users' });

const namesOf = (...types: Type[]) => {
  const names = nameClasses(
    types.map((type) => explored(type)),
    () => true,
  );
  return types.map((type) => names.get(type));
};

describe('Names of classes', () => {
  it.each<[string, Type[], string[]]>([
    ['none if they are unique', [controllerAt('a')], ['Users']],
    ['paths', [controllerAt('a'), controllerAt('b')], ['Team.Users(a)', 'Team.Users(b)']],
    ['lists of paths', [controllerAt(['a', 'b']), controllerAt('a')], ['Team.Users(a/b)', 'Team.Users(a)']],
    [
      'versions',
      [controllerAt({ path: 'a', version: '1' }), controllerAt({ path: 'a', version: '2' })],
      ['Team.Users(a/1)', 'Team.Users(a/2)'],
    ],
    ['paths beyond ASCII', [controllerAt('ü'), controllerAt('a b')], ['Team.Users(%C3%BC)', 'Team.Users(a%20b)']],
    ['methods', [controllerAt('/'), Verb], ['Team.Users(GET list)', 'Team.Users(POST list)']],
    [
      'namespaces of gateways',
      [gateway(WebSocketGateway({ namespace: 'a' }), 'say'), gateway(WebSocketGateway({ namespace: 'b' }), 'say')],
      ['Team.Users(a)', 'Team.Users(b)'],
    ],
    [
      'messages of gateways',
      [gateway(WebSocketGateway(), 'say'), gateway(WebSocketGateway(), 'ask')],
      ['Team.Users(say)', 'Team.Users(ask)'],
    ],
    [
      'patterns of messages',
      [service('get'), service({ cmd: 'get' })],
      ['Team.Users(get)', 'Team.Users(%7B%22cmd%22:%22get%22%7D)'],
    ],
  ])('are distinguished by %s, in any order', (_, types, names) => {
    expect(namesOf(...types)).toEqual(names);
    expect(namesOf(...types.toReversed())).toEqual(names.toReversed());
  });

  it('are distinguished by their modules before their paths', () => {
    const [one, two, three] = [controllerAt('a'), controllerAt('b'), controllerAt('b')];
    const all = [explored(one, 'One'), explored(two, 'Two'), explored(three, 'Two')];
    const names = (classes: ExploredClass[]) => [...nameClasses(classes, () => false).values()];
    expect(names(all.slice(0, 2))).toEqual(['One.Users', 'Two.Users']);
    expect(names(all)).toEqual(['One.Users', 'Two.Users(GET b/list)', 'Two.Users(GET b/list)']);
  });

  it('name the module and the route if they cannot be distinguished', () => {
    expect(() => namesOf(controllerAt('a'), controllerAt('a'))).toThrow(
      new RateLimitOptionError(
        'Invalid @RateLimit on Users: Team has two classes of this name with the route GET a/list; give their policies a ' +
          '`name`',
      ),
    );
  });

  it('name the module if classes without routes cannot be distinguished', () => {
    const providers = [1, 2].map(() => {
      @Injectable()
      class Users {}
      return Users;
    });
    expect(() => namesOf(...providers)).toThrow('Team has two classes of this name; give their policies a `name`');
  });
});

describe('Warning about minified names of classes', () => {
  afterEach(() => {
    jest.restoreAllMocks();
  });

  const warningsOf = async (className: string, options: RateLimitOptions, module: RateLimitModuleOptions) => {
    @Controller()
    class Users {
      @RateLimit(options)
      @Get()
      list() {}
    }
    Object.defineProperty(Users, 'name', { value: className });
    const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
    await (await createApp('express', { imports: [RateLimitModule.forRoot(module)], controllers: [Users] })).close();
    return warn.mock.calls.map(([message]) => String(message)).filter((line) => line.includes('minified'));
  };
  const ONE = { maxRequest: 1, unit: 'hour' } as const;

  it.each(['a', '_a', 'e1', 'tt', '$'])('mentions the class %s once', async (name) => {
    expect(await warningsOf(name, ONE, { store: new FarStore() })).toEqual([
      `Policies without a \`name\` are named after their classes, whose names are minified (${name}): after another build, ` +
        'their buckets in the store may have other keys. Set `name`, or keep the names of classes: `keep_classnames` of ' +
        'Terser and SWC, `keepNames` of esbuild',
    ]);
  });

  it.each(['A', 'Users', 'app', 'Db'])('does not mention the class %s', async (name) => {
    expect(await warningsOf(name, ONE, { store: new FarStore() })).toEqual([]);
  });

  it('does not mention policies with a name, or buckets in memory', async () => {
    expect(await warningsOf('a', { ...ONE, name: 'users' }, { store: new FarStore() })).toEqual([]);
    expect(await warningsOf('a', ONE, {})).toEqual([]);
    expect(await warningsOf('a', ONE, { store: new MemoryStore() })).toEqual([]);
  });
});

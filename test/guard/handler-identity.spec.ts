import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, describe, expect, it } from '@jest/globals';
import type { ExecutionContext, INestApplication, Type } from '@nestjs/common';
import { Controller, Get } from '@nestjs/common';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import {
  MemoryStore,
  RateLimit,
  RateLimitExceededException,
  RateLimitGuard,
  RateLimitModule,
  type RateLimitModuleOptions,
  RateLimitOptionError,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { createApp } from '../support/create-app.js';

const ONE = { maxRequest: 1, unit: 'hour' } as const;

@Controller('mixed')
class Mixed {
  @RateLimit(ONE)
  @Get('limited')
  limited() {}

  @Get('free')
  free() {}
}

@RateLimit(ONE)
@Controller('uniform')
class Uniform {
  @Get('a')
  a() {}

  @Get('b')
  b() {}
}

@Controller('unlimited')
class Unlimited {
  @Get()
  get() {}
}

type Method = () => void;

/** Wraps a method as tracing agents do; `name` is the wrapper's own name. */
function wrap(method: Method, { name = 'wrapper', withMetadata = false } = {}): Method {
  const wrapper = { [name]: () => method() }[name];
  if (withMetadata) {
    for (const key of Reflect.getMetadataKeys(method)) {
      Reflect.defineMetadata(key, Reflect.getMetadata(key, method), wrapper);
    }
  }
  return wrapper;
}

describe('RateLimitGuard for a handler that was replaced after startup', () => {
  let app: INestApplication;
  afterEach(() => app.close());

  const start = async (options: RateLimitModuleOptions = {}) => {
    const store = new MemoryStore({ clock: new FakeClock() });
    app = await createApp('express', {
      imports: [RateLimitModule.forRoot({ store, ...options })],
      controllers: [Mixed, Uniform, Unlimited],
    });
    return app.get(RateLimitGuard);
  };
  const contextOf = (type: Type, method: Method): ExecutionContext =>
    new ExecutionContextHost([{ ip: '203.0.113.7' }, { set() {}, setHeader() {} }], type, method);
  const { limited, free } = Mixed.prototype;

  it.each([
    ['with the metadata of the method', { withMetadata: true }],
    ['with the name of the method', { name: 'limited' }],
    ['with the metadata of the method and the name of another one', { name: 'free', withMetadata: true }],
  ])('applies the limits of the method to a function %s', async (_, options) => {
    const guard = await start();
    expect(guard.canActivate(contextOf(Mixed, limited))).toBe(true);
    expect(() => guard.canActivate(contextOf(Mixed, wrap(limited, options)))).toThrow(RateLimitExceededException);
  });

  it('does not limit a function with the metadata of an undecorated method', async () => {
    const guard = await start();
    const replaced = wrap(free, { withMetadata: true });
    for (let i = 0; i < 3; i++) expect(guard.canActivate(contextOf(Mixed, replaced))).toBe(true);
  });

  it('fails for an unknown function in a class whose methods have different limits', async () => {
    const guard = await start();
    for (const method of [limited, free]) {
      expect(() => guard.canActivate(contextOf(Mixed, wrap(method)))).toThrow(
        new RateLimitOptionError(
          'Unknown handler wrapper of Mixed: a decorator or an agent replaced a limited method without copying its metadata ' +
            'and name. Copy both, or apply that decorator below @RateLimit',
        ),
      );
    }
  });

  it('applies the limits that all methods of the class share to an unknown function', async () => {
    const guard = await start();
    expect(guard.canActivate(contextOf(Uniform, wrap(Uniform.prototype.a)))).toBe(true);
    expect(() => guard.canActivate(contextOf(Uniform, wrap(Uniform.prototype.b)))).toThrow(RateLimitExceededException);
  });

  it('applies the default of the module to an unknown function', async () => {
    const guard = await start({ default: ONE });
    expect(guard.canActivate(contextOf(Unlimited, wrap(Unlimited.prototype.get)))).toBe(true);
    expect(() => guard.canActivate(contextOf(Unlimited, wrap(Unlimited.prototype.get)))).toThrow(
      RateLimitExceededException,
    );
  });

  it('fails for an unknown function if the default of the module depends on the handler', async () => {
    const guard = await start({ default: { ...ONE, perHandler: true } });
    expect(() => guard.canActivate(contextOf(Mixed, wrap(free)))).toThrow(RateLimitOptionError);
  });

  it('does not limit an unknown function in a class without limits', async () => {
    const guard = await start();
    for (let i = 0; i < 3; i++) {
      expect(guard.canActivate(contextOf(Unlimited, wrap(Unlimited.prototype.get)))).toBe(true);
    }
  });

  it('does not keep functions that are created for each request', async () => {
    const guard = await start();
    let wrapper: Method | undefined = wrap(free, { withMetadata: true });
    const kept = new WeakRef(wrapper);
    expect(guard.canActivate(contextOf(Mixed, wrapper))).toBe(true);
    wrapper = undefined;
    guard.canActivate(contextOf(Mixed, free));
    setFlagsFromString('--expose-gc');
    const gc = runInNewContext('gc') as () => void;
    await new Promise(setImmediate);
    gc();
    expect(kept.deref()).toBeUndefined();
  });
});

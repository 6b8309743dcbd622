import { afterEach, describe, expect, it } from '@jest/globals';
import { Catch, Controller, type ExceptionFilter, Get, Inject, type Provider, type Type } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import {
  BucketService,
  MemoryStore,
  RateLimitExceededException,
  RateLimitModule,
  RateLimitOptionError,
  RateLimitStore,
} from 'nest-rate-limit';
import request from 'supertest';
import { VERSION } from '../../src/util/version.js';
import { createApp } from '../support/create-app.js';

const copies = (globalThis as unknown as Record<symbol, object[]>)[Symbol.for('nest-rate-limit:copies')];
afterEach(() => {
  copies.splice(1);
});

/** Adds the classes of another copy of the package, and returns a class that injects each of them. */
function loadCopy(version: string) {
  class OtherStore {}
  class OtherBuckets {}
  class OtherPlans {}
  copies.push({ version, store: OtherStore, buckets: OtherBuckets, ofGuard: [OtherPlans] });
  const injecting = (token: Type) => {
    class Injecting {
      constructor(@Inject(token) readonly injected: unknown) {}
    }
    return Injecting;
  };
  return { store: injecting(OtherStore), buckets: injecting(OtherBuckets), guard: injecting(OtherPlans) };
}

const start = (providers: Provider[], ...modules: ReturnType<typeof RateLimitModule.forRoot>[]) =>
  createApp('express', { imports: modules.length > 0 ? modules : [RateLimitModule.forRoot()], providers });

const hint = (versions: string) =>
  `. 2 copies of nest-rate-limit are loaded (versions ${versions}), and their classes differ. Find them with \`npm ls ` +
  'nest-rate-limit`, and keep one: run `npm dedupe`, or make it a peer dependency of your libraries. If npm lists only ' +
  'one, it is loaded both as an ES module and as CommonJS';
const injected = 'A class of another copy of nest-rate-limit, such as its RateLimitGuard, is injected or bound';

describe('Two copies of the package in one process', () => {
  it('share the store and BucketService if they have the same version', async () => {
    const { store, buckets } = loadCopy(VERSION);
    const app = await start([store, buckets]);
    expect(app.get(store).injected).toBe(app.get(RateLimitStore));
    expect(app.get(buckets).injected).toBe(app.get(BucketService));
    await app.close();
  });

  it('fail at startup if the guard of the other copy is bound', async () => {
    const { guard } = loadCopy(VERSION);
    await expect(start([guard])).rejects.toThrow(new RateLimitOptionError(injected + hint(`${VERSION}, ${VERSION}`)));
  });

  it.each(['store', 'buckets', 'guard'] as const)(
    'fail at startup if the %s of another version is injected',
    async (name) => {
      const other = loadCopy('9.9.9');
      await expect(start([other[name]])).rejects.toThrow(
        new RateLimitOptionError(injected + hint(`${VERSION}, 9.9.9`)),
      );
    },
  );

  it('start if nothing of the other version is injected', async () => {
    loadCopy('9.9.9');
    await (await start([])).close();
  });

  it('are named in the startup error if both configure the module', async () => {
    loadCopy(VERSION);
    await expect(start([], RateLimitModule.forRoot(), RateLimitModule.forRoot({ headers: false }))).rejects.toThrow(
      `import it once, and add the policies of features with \`forFeature\`${hint(`${VERSION}, ${VERSION}`)}`,
    );
  });

  it.each([
    ['accept a store that a copy of the same version created', VERSION, undefined],
    [
      'fail at startup if a copy of another version created the store',
      '9.9.9',
      `Invalid RateLimitModule options: \`store\` was created by nest-rate-limit 9.9.9${hint(`${VERSION}, 9.9.9`)}`,
    ],
  ])('%s', async (_, version, error) => {
    loadCopy(version);
    // A store of the other copy: not an instance of our class, but with the same symbol and members.
    const store = Object.create(
      { [Symbol.for('nest-rate-limit:RateLimitStore')]: version },
      {
        run: { value: () => ({}) },
        subscribe: { value: () => () => {} },
        clock: { value: new MemoryStore().clock },
        close: { value: () => {} },
      },
    ) as RateLimitStore;
    const started = start([], RateLimitModule.forRoot({ store }));
    if (error) await expect(started).rejects.toThrow(new RateLimitOptionError(error));
    else await (await started).close();
  });

  it("recognize each other's exceptions", async () => {
    class OtherException extends Error {
      readonly decision = { retryAfter: 1000 };
    }
    Object.defineProperty(OtherException.prototype, Symbol.for('nest-rate-limit:RateLimitExceededException'), {
      value: true,
    });
    @Catch(RateLimitExceededException)
    class Filter implements ExceptionFilter<RateLimitExceededException> {
      catch({ decision }: RateLimitExceededException, host: Parameters<ExceptionFilter['catch']>[1]) {
        host.switchToHttp().getResponse().status(429).json(decision);
      }
    }
    @Controller()
    class Throwing {
      @Get()
      get() {
        throw new OtherException();
      }
    }
    const app = await createApp('express', {
      imports: [RateLimitModule.forRoot()],
      controllers: [Throwing],
      providers: [{ provide: APP_FILTER, useClass: Filter }],
    });
    await request(app.getHttpServer()).get('/').expect(429, { retryAfter: 1000 });
    await app.close();
  });
});

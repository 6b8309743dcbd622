import { afterEach, expect, it } from '@jest/globals';
import { Controller, Get, type INestApplication, Module, UseGuards } from '@nestjs/common';
import { MemoryStore, RateLimit, RateLimitGuard, RateLimitModule } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { createApp } from '../support/create-app.js';
import { until } from '../support/requests.js';

const QUEUE = { capacity: 1, refill: 1, maxWait: '5s' } as const;

@UseGuards(RateLimitGuard)
@Controller('a')
class ControllerA {
  @RateLimit(QUEUE)
  @Get()
  get(): string {
    return 'a';
  }
}

@UseGuards(RateLimitGuard)
@Controller('b')
class ControllerB {
  @RateLimit(QUEUE)
  @Get()
  get(): string {
    return 'b';
  }
}

@Module({ controllers: [ControllerA] })
class ModuleA {}

@Module({ controllers: [ControllerB] })
class ModuleB {}

let app: INestApplication;
afterEach(() => app.close());

it('applies maxSuspended to the whole application, though each module has its own guard', async () => {
  const clock = new FakeClock();
  const options = { guard: false, maxSuspended: 1, store: new MemoryStore({ clock }) };
  app = await createApp('express', { imports: [RateLimitModule.forRoot(options), ModuleA, ModuleB] });
  const get = (path: string) => request(app.getHttpServer()).get(path);
  expect((await get('/a')).status).toBe(200);
  expect((await get('/b')).status).toBe(200);
  const waiting = get('/a').then(({ status }) => status);
  // The waiter has two sleepers: its turn, and the deadline of the suspension.
  await until(() => clock.sleeping === 2);
  expect((await get('/b')).status).toBe(429);
  await clock.advance(1000);
  expect(await waiting).toBe(200);
});

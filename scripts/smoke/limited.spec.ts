// A typical application test for Jest or Vitest.
import { Controller, Get, type INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { MemoryStore, RateLimit, RateLimitModule, RateLimitStore, TimeUnit } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';

@Controller()
class AppController {
  @RateLimit({ duration: 10, unit: TimeUnit.SECONDS, maxRequest: 2 })
  @Get('limited')
  limited() {
    return 'Hello Limited World';
  }
}

describe('AppController', () => {
  const clock = new FakeClock();
  let app: INestApplication;
  beforeEach(async () => {
    const module = await Test.createTestingModule({
      imports: [RateLimitModule.forRoot()],
      controllers: [AppController],
    })
      .overrideProvider(RateLimitStore)
      .useValue(new MemoryStore({ clock }))
      .compile();
    app = module.createNestApplication();
    await app.init();
  });
  afterEach(() => app.close());

  it('admits two requests, rejects the third, and admits another ten seconds later', async () => {
    const get = () => request(app.getHttpServer()).get('/limited');
    await get().expect(200, 'Hello Limited World').expect('RateLimit', '"AppController.limited";r=1;t=10');
    await get().expect(200, 'Hello Limited World').expect('RateLimit', '"AppController.limited";r=0;t=10');
    await get().expect(429, { statusCode: 429, message: 'Too Many Requests' }).expect('Retry-After', '10');
    await clock.advance(10_000);
    await get().expect(200);
  });
});

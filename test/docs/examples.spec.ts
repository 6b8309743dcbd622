import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import * as common from '@nestjs/common';
import { Controller, Get, type INestApplication, Post, type Type } from '@nestjs/common';
import { JwtService } from '@nestjs/jwt';
import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger';
import { BucketService, RateLimit, RateLimitStore } from 'nest-rate-limit';
import type { FakeClock } from 'nest-rate-limit/testing';
import request, { type Response } from 'supertest';
import { failing, NestFactory, run, snippetIn, startApp, unsubscribeAll } from '../support/pages.js';
import * as readmeNames from '../support/readme-names.js';
import type { Exports } from '../support/snippets.js';

const DECORATOR = 'docs/reference/decorator.md';
const OBSERVABILITY = 'docs/guides/observability.md';

let app: INestApplication | undefined;
let clock: FakeClock;
afterEach(async () => {
  unsubscribeAll();
  await app?.close();
  app = undefined;
});

async function start(exports: Exports, providers: Type[] = []): Promise<INestApplication> {
  ({ app, clock } = await startApp(exports, providers));
  return app;
}

const get = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
  Promise.resolve(request(app?.getHttpServer()).get(path).set(headers));
const post = (path: string, body: object = {}): Promise<Response> =>
  Promise.resolve(request(app?.getHttpServer()).post(path).send(body));

async function statuses(count: number, send: () => Promise<Response>): Promise<number[]> {
  const found: number[] = [];
  for (let i = 0; i < count; i++) found.push((await send()).status);
  return found;
}

describe('Examples in the documentation', () => {
  it('limit a class and a method, and skip one handler', async () => {
    await start(await run(snippetIn(DECORATOR, '`@RateLimit` options')));
    expect(await statuses(6, () => post('/books'))).toEqual([201, 201, 201, 201, 201, 429]);
    expect((await get('/books')).headers.ratelimit).toBe('"BooksController";r=99;t=60');
    expect((await get('/books/health')).headers).not.toHaveProperty('ratelimit');
  });

  it('show the message of an invalid option', async () => {
    class SmsController {
      send(): void {}
    }
    const place = Object.getOwnPropertyDescriptor(SmsController.prototype, 'send') as PropertyDescriptor;
    Post()(SmsController.prototype, 'send', place);
    RateLimit({ capacity: 0, refill: 1 })(SmsController.prototype, 'send', place);
    Controller()(SmsController);
    const message = /``(Invalid @RateLimit .*?)``/.exec(readFileSync(DECORATOR, 'utf8'))?.[1];
    await expect(start({ SmsController })).rejects.toThrow(message);
  });

  it('count each user separately', async () => {
    await start(await run(snippetIn('docs/guides/authentication.md', 'Authentication with `@UseGuards`')));
    expect((await get('/notes', { 'x-user': 'ada' })).headers.ratelimit).toContain('r=99');
    expect((await get('/notes', { 'x-user': 'ada' })).headers.ratelimit).toContain('r=98');
    expect((await get('/notes', { 'x-user': 'grace' })).headers.ratelimit).toContain('r=99');
    expect((await get('/notes')).status).toBe(500);
  });

  it('count each user separately after a global authentication guard', async () => {
    await start(
      await run(snippetIn('docs/guides/authentication.md', 'Authentication in a global guard or middleware')),
    );
    expect((await get('/notes', { 'x-user': 'ada' })).headers.ratelimit).toContain('r=99');
    expect((await get('/notes', { 'x-user': 'grace' })).headers.ratelimit).toContain('r=99');
  });

  it('count each user of Passport separately', async () => {
    const { AppModule } = await run(snippetIn('docs/guides/authentication.md', 'Passport and JWT'));
    await start({ AppModule });
    const jwt = new JwtService({ secret: readmeNames.jwtSecret });
    const profileOf = (sub: string) => get('/profile', { authorization: `Bearer ${jwt.sign({ sub })}` });
    expect((await profileOf('ada')).headers.ratelimit).toContain('r=59');
    expect((await profileOf('ada')).headers.ratelimit).toContain('r=58');
    expect((await profileOf('grace')).headers.ratelimit).toContain('r=59');
    const forged = await get('/profile', { authorization: 'Bearer forged' });
    expect([forged.status, forged.headers.ratelimit]).toEqual([401, undefined]);
  });

  it('limit requests before a global authentication guard', async () => {
    const { AppModule } = await run(snippetIn('docs/guides/authentication.md', 'A limit before authentication'));
    @Controller('any')
    class AnyController {
      @Get()
      get(): void {}
    }
    @common.Module({ imports: [AppModule as Type], controllers: [AnyController] })
    class RootModule {}
    await start({ RootModule });
    const authenticate = jest.spyOn(readmeNames.AuthGuard.prototype, 'canActivate');
    expect((await statuses(301, () => get('/any'))).at(-1)).toBe(429);
    expect(authenticate).toHaveBeenCalledTimes(300);
    authenticate.mockRestore();
  });

  it('charge a stream while it runs', async () => {
    await start(await run(snippetIn('docs/guides/costs.md', 'Streams')));
    expect((await get('/chat')).text).toContain('morning');
    const bucket = app?.get(BucketService).bucket('chat', 'all');
    expect(await bucket?.available()).toBe(1000 - 1 - 'Goodmorning'.length);
  });

  it('limit each user by tier', async () => {
    await start(await run(snippetIn('docs/guides/tiers-and-tenants.md', 'A tier per user')));
    const reportsOf = (user: string, plan: string) => get('/reports', { 'x-user': user, 'x-plan': plan });
    expect((await reportsOf('ada', 'free')).headers.ratelimit).toBe('"free";r=9;t=60');
    expect((await reportsOf('grace', 'pro')).headers.ratelimit).toBe('"pro";r=99;t=60');
  });

  it('limit tenants and their users together', async () => {
    await start(await run(snippetIn('docs/guides/tiers-and-tenants.md', 'A limit per tenant and per user')));
    expect((await get('/orders', { 'x-api-key': 'acme' })).headers.ratelimit).toContain('"tenant";r=999');
    expect((await get('/orders', { 'x-api-key': 'acme' })).headers.ratelimit).toContain('"user";r=48');
  });

  it('charge a cost per request', async () => {
    await start(await run(snippetIn('docs/guides/costs.md', 'Costs per request')));
    expect((await post('/documents/print', { pages: 30 })).headers.ratelimit).toContain('r=70');
    expect((await post('/documents/print', { pages: 71 })).headers['retry-after']).toBe('1');
    const never = await post('/documents/print', { pages: 101 });
    expect(never.status).toBe(429);
    expect(never.headers).not.toHaveProperty('retry-after');
    expect((await post('/documents/print', { pages: 'many' })).status).toBe(500);
    expect(await statuses(3, () => post('/documents/scan'))).toEqual([201, 201, 429]);
  });

  it('apply several limits to a request', async () => {
    await start(await run(snippetIn(DECORATOR, '`limits`', 0)));
    expect((await get('/search')).headers['ratelimit-policy']).toBe(
      '"SearchController/burst";q=10;w=5, "SearchController/day";q=1000;w=86400',
    );
    await app?.close();
    await start(await run(snippetIn(DECORATOR, '`limits`', 1)));
    const one = () => post('/sms', { phone: '1' });
    expect((await statuses(21, one)).at(-1)).toBe(429);
    expect((await post('/sms', { phone: '2' })).headers.ratelimit).toBe('"number";r=19;t=6, "client";r=79;t=3600');
    expect((await post('/sms')).status).toBe(400);
  });

  it('share a bucket through a named policy', async () => {
    await start(await run(snippetIn('docs/reference/module.md', '`policies`', 0)));
    expect((await post('/articles')).headers.ratelimit).toContain('"writes";r=9');
    expect((await post('/comments')).headers.ratelimit).toContain('"writes";r=8');
  });

  it('queue early requests', async () => {
    await start(await run(snippetIn('docs/guides/queueing.md', 'Queueing requests')));
    const answers: number[] = [];
    const all = Array.from({ length: 7 }, async () => answers.push((await get('/queue')).status));
    while (answers.length < 2) await new Promise(setImmediate);
    expect(answers.toSorted()).toEqual([200, 429]);
    await clock.advance(5000);
    await Promise.all(all);
    expect(answers.toSorted()).toEqual([...new Array<number>(6).fill(200), 429]);
  });

  it('block an account after five failed log-ins', async () => {
    const { Snippet } = (await run(snippetIn('docs/guides/login-protection.md', 'A basic limit'))) as {
      Snippet: Type<{ login(): void }>;
    };
    Snippet.prototype.login = failing(Snippet.prototype.login);
    await start({ Snippet });
    expect(await statuses(6, () => post('/login', { user: 'ada' }))).toEqual([401, 401, 401, 401, 401, 429]);
    expect((await post('/login', { user: 'grace' })).status).toBe(401);
    await clock.advance(15 * 60_000 - 1);
    expect((await post('/login', { user: 'Ada ' })).headers['retry-after']).toBe('1');
    await clock.advance(1);
    expect((await post('/login', { user: 'ada' })).status).toBe(401);
    expect((await post('/login')).status).toBe(400);
  });

  it('charge a cost that is known after the handler', async () => {
    await start(await run(snippetIn('docs/guides/costs.md', 'Costs known afterwards')));
    expect((await post('/completions')).headers.ratelimit).toContain('r=9500');
    const policy = { name: 'llm', capacity: 10_000, refill: 10_000, unit: 'minutes' } as const;
    const bucket = app?.get(BucketService).bucket(policy, '127.0.0.1');
    while ((await bucket?.available()) === 9500) await new Promise(setImmediate);
    expect(await bucket?.available()).toBe(10_000 - 1234);
  });

  it('read policies from the configuration, and reject strings in them', async () => {
    const snippet = snippetIn('docs/guides/deployment.md', 'Limits from configuration');
    try {
      process.env.EXPORTS_LIMIT = '{ "maxRequest": "3" }';
      await expect(run(snippet).then(start)).rejects.toThrow(
        "policies.exports: `maxRequest` must be a positive whole number, got '3'. Convert strings by Number()",
      );
      delete process.env.EXPORTS_LIMIT;
      await start(await run(snippet));
    } finally {
      delete process.env.EXPORTS_LIMIT;
    }
    expect((await get('/exports')).headers.ratelimit).toBe('"exports";r=2;t=3600');
  });

  it('choose the numbers by tier, in one line', async () => {
    await start(await run(snippetIn('docs/guides/tiers-and-tenants.md', 'In one line')));
    const words = async (key: string) => (await get('/words', { 'x-api-key': key })).headers.ratelimit;
    expect(await words('ada')).toBe('"WordsController";r=1;t=60');
    expect(await words('pro-grace')).toBe('"WordsController";r=99;t=60');
    expect(await words('ada')).toBe('"WordsController";r=0;t=60');
    expect((await get('/words', { 'x-api-key': 'ada' })).status).toBe(429);
  });

  it('choose the policy by tier', async () => {
    await start(await run(snippetIn('docs/guides/tiers-and-tenants.md', 'A policy per API key', 0)));
    expect((await get('/maps', { 'x-api-key': 'paid-1' })).headers.ratelimit).toBe('"paid";r=99;t=1');
    expect((await get('/maps', { 'x-api-key': 'other' })).headers.ratelimit).toBe('"free";r=4;t=1');
    expect((await get('/maps')).status).toBe(500);
  });

  it('cache tiers, with a new lookup after an error, after a minute, and after 10,000 others', async () => {
    const { CachedTiers } = await run(snippetIn('docs/guides/tiers-and-tenants.md', 'A policy per API key'));
    const tiers = new (CachedTiers as typeof readmeNames.Tiers)();
    const lookups = jest.spyOn(readmeNames.Tiers.prototype, 'of');
    lookups.mockRejectedValueOnce(new Error('no database'));
    jest.useFakeTimers();
    try {
      const failed = await Promise.allSettled([tiers.of('paid'), tiers.of('paid')]);
      expect(failed.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
      expect(await Promise.all([tiers.of('paid'), tiers.of('paid')])).toEqual(['paid', 'paid']);
      expect(lookups).toHaveBeenCalledTimes(2);
      await jest.advanceTimersByTimeAsync(59_999);
      await tiers.of('paid');
      expect(lookups).toHaveBeenCalledTimes(2);
      await jest.advanceTimersByTimeAsync(1);
      await tiers.of('paid');
      expect(lookups).toHaveBeenCalledTimes(3);
      for (let i = 0; i < 10_000; i++) await tiers.of(`${i}`);
      await tiers.of('paid');
      expect(lookups).toHaveBeenCalledTimes(10_004);
    } finally {
      jest.useRealTimers();
      lookups.mockRestore();
    }
  });

  it('return a fallback response instead of 429', async () => {
    await start(await run(snippetIn('docs/guides/responses.md', 'Responses instead of rejections')));
    const [first, second] = [await get('/report'), await get('/report')];
    expect(first.text).toMatch(/^Report .{36}$/);
    expect([second.status, second.text, second.headers['retry-after']]).toEqual([200, first.text, '60']);
  });

  it('check a bucket manually', async () => {
    const exports = await run(snippetIn('docs/guides/manual-checks.md', 'Manual checks', 0));
    await start(exports);
    const mail = app?.get(exports.MailService as Type<{ send(to: string): Promise<string> }>);
    const answers: unknown[] = [];
    for (let i = 0; i < 6; i++) answers.push(await mail?.send('ada@example.com'));
    expect(answers).toEqual([...[4, 3, 2, 1, 0].map((left) => `sent, ${left} more`), 'retry in 1000 ms']);
  });

  it('count in a dry run without rejecting', async () => {
    await start(await run(snippetIn(DECORATOR, '`dryRun`')));
    expect(await statuses(20, () => get('/catalogue'))).toEqual(new Array<number>(20).fill(200));
    expect((await get('/catalogue')).headers).not.toHaveProperty('ratelimit');
    const bucket = app?.get(BucketService).bucket({ name: 'trial', maxRequest: 10, unit: 'minutes' }, '127.0.0.1');
    expect(await bucket?.available()).toBe(0);
  });

  it('count rejections from the decision channel', async () => {
    const { rejected } = (await run(snippetIn(OBSERVABILITY, 'On channels'))) as { rejected: Map<string, number> };
    await start(await run(snippetIn(DECORATOR, '`@RateLimit` options')));
    await statuses(7, () => post('/books'));
    expect([...rejected]).toEqual([['BooksController.create', 2]]);
  });

  it('report the health of the store', async () => {
    await start(await run(snippetIn(OBSERVABILITY, 'As a health check')));
    expect((await get('/health')).body).toMatchObject({ status: 'ok', info: { 'rate-limits': { status: 'up' } } });
    const store = app?.get(RateLimitStore) as RateLimitStore;
    store.health = () => ({ status: 'down' });
    const { status, body } = await get('/health');
    expect([status, body.error]).toEqual([503, { 'rate-limits': { status: 'down' } }]);
  });

  it('document 429 responses in OpenAPI', async () => {
    const running = await start(await run(snippetIn('docs/guides/openapi.md', 'OpenAPI')));
    const { paths } = SwaggerModule.createDocument(running, new DocumentBuilder().build());
    expect(paths['/letters'].post?.responses).toHaveProperty(['429', 'content', 'application/json']);
    expect(paths['/letters/print'].post?.responses).toHaveProperty('429.description', 'The printer is busy');
    expect(paths['/letters/secret'].get?.responses).not.toHaveProperty('429');
  });

  it('suspend a request in a guard', async () => {
    const { TicketGuard } = (await run(snippetIn('docs/guides/suspending.md', 'Suspending guards'))) as {
      TicketGuard: Type;
    };
    @common.UseGuards(TicketGuard as Type<common.CanActivate>)
    @Controller('hall')
    class HallController {
      @Get()
      enter(): void {}
    }
    await start({ TicketGuard, HallController }, [readmeNames.TicketOffice]);
    expect(await statuses(2, () => get('/hall'))).toEqual([200, 200]);
    (app?.get(readmeNames.TicketOffice) as readmeNames.TicketOffice).closed = true;
    expect((await get('/hall')).body.message).toBe('No ticket');
  });

  it('keep buckets in Redis', async () => {
    for (const module of [
      snippetIn('docs/reference/module.md', 'Module options'),
      snippetIn('docs/reference/stores.md', 'Redis'),
    ]) {
      const { AppModule } = (await run(module)) as { AppModule: Type };
      app = await NestFactory.create(AppModule);
      await app.init();
      const bucket = app.get(BucketService).bucket({ name: 'readme', capacity: 2, refill: 1 }, `${process.pid}`);
      expect(await bucket.decide()).toMatchObject({ remaining: 1, source: 'store' });
      await bucket.reset();
      await app.close();
    }
  });
});

import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  type CallHandler,
  Controller,
  createParamDecorator,
  type ExecutionContext,
  Get,
  Header,
  HttpCode,
  HttpException,
  type INestApplication,
  type NestInterceptor,
  Next,
  Post,
  Redirect,
  Render,
  Res,
  Sse,
  StreamableFile,
  UseInterceptors,
} from '@nestjs/common';
import { MemoryStore, RateLimit, RateLimitModule } from 'nest-rate-limit';
import { EMPTY, map, type Observable, of, retry, throwError } from 'rxjs';
import request from 'supertest';
import { ADAPTERS, createApp } from '../support/create-app.js';

interface AnyResponse {
  header(name: string, value: string): AnyResponse;
  send(body: unknown): unknown;
}

const stale = (value: unknown) =>
  RateLimit({ maxRequest: 1, unit: 'hour', onLimited: () => (typeof value === 'function' ? value() : value) });
const file = (text: string) => new StreamableFile(Buffer.from(text), { type: 'text/csv' });
/** In an object: Nest would await the reply of Fastify, which has a `then`. */
const FromContext = createParamDecorator((_data: unknown, context: ExecutionContext) => ({
  response: context.switchToHttp().getResponse<AnyResponse>(),
}));

class Envelope implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((data) => ({ data })));
  }
}

/** Fails after the handler, and retries once. */
class FailAndRetry implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(
      map(() => {
        throw new HttpException('stale', 503);
      }),
      retry(1),
    );
  }
}

@Controller()
class Resource {
  @stale('stale')
  @Get('res')
  res(@Res() response: AnyResponse) {
    response.header('x-from', 'handler').send('fresh');
  }

  @stale({ stale: true })
  @Post('res-object')
  resObject(@Res() response: AnyResponse) {
    response.send('fresh');
  }

  @stale(() => of('old', 'stale'))
  @Get('res-observable')
  resObservable(@Res() response: AnyResponse) {
    response.send('fresh');
  }

  @stale(() => EMPTY)
  @Get('res-empty')
  resEmpty(@Res() response: AnyResponse) {
    response.send('fresh');
  }

  @stale(() => throwError(() => new HttpException('no cache', 504)))
  @Get('res-error')
  resError(@Res() response: AnyResponse) {
    response.send('fresh');
  }

  @stale(() => file('stale'))
  @Get('res-file')
  resFile(@Res() response: AnyResponse) {
    response.send('fresh');
  }

  @stale('stale')
  @HttpCode(203)
  @Header('x-cache', 'yes')
  @Get('res-code')
  resCode(@Res() response: AnyResponse) {
    response.send('fresh');
  }

  @UseInterceptors(FailAndRetry)
  @stale('stale')
  @Get('res-retried')
  resRetried(@Res() response: AnyResponse) {
    response.send('fresh');
  }

  @RateLimit({
    maxRequest: 1,
    unit: 'hour',
    onLimited: (context) => context.switchToHttp().getResponse<AnyResponse>().send('stale') && 'sent',
  })
  @Get('res-sent')
  resSent(@Res() response: AnyResponse) {
    response.send('fresh');
  }

  @stale('stale')
  @Get('next')
  next(@FromContext() { response }: { response: AnyResponse }, @Next() _next: unknown) {
    response.send('fresh');
  }

  @stale('stale')
  @Get('passthrough')
  passthrough(@Res({ passthrough: true }) response: AnyResponse) {
    response.header('x-from', 'handler');
    return 'fresh';
  }

  @stale('stale')
  @Get('decorated')
  decorated(@FromContext() _context: object) {
    return 'fresh';
  }

  @stale('stale')
  @Redirect('/fresh')
  @Get('redirect')
  redirect() {}

  @stale({ stale: true })
  @UseInterceptors(Envelope)
  @Redirect('/fresh', 301)
  @Get('redirect-object')
  redirectObject() {}

  @stale(() => of({ url: '/stale', statusCode: 307 }))
  @Redirect('/fresh')
  @Get('redirect-elsewhere')
  redirectElsewhere() {}

  @UseInterceptors(FailAndRetry)
  @stale('stale')
  @Redirect('/fresh')
  @Get('redirect-failing')
  redirectFailing() {}

  @stale({ state: 'stale' })
  @Render('page')
  @Get('render')
  render() {
    return { state: 'fresh' };
  }

  @stale('stale')
  @Render('page')
  @Get('render-text')
  renderText() {
    return { state: 'fresh' };
  }

  @stale(() => file('stale'))
  @Render('page')
  @Get('render-file')
  renderFile() {
    return { state: 'fresh' };
  }

  @stale('stale')
  @Get('file')
  file() {
    return file('fresh');
  }

  @stale(() => file('stale'))
  @Header('x-cache', 'yes')
  @Get('file-too')
  fileToo() {
    return file('fresh');
  }

  @stale('stale')
  @Sse('events')
  events() {
    return of({ data: 'fresh' });
  }
}

/** Renders `page` with both frameworks. */
function renderPages(app: INestApplication): void {
  const page = (state: unknown) => `<p>${state}</p>`;
  const framework = app.getHttpAdapter().getInstance();
  if (typeof framework === 'function') {
    framework.engine('html', (_path: string, { state }: { state: string }, done: (e: null, html: string) => void) =>
      done(null, page(state)),
    );
    framework.set('view engine', 'html');
    framework.set(
      'view',
      class {
        constructor(readonly name: string) {}
        readonly path = 'page';
        render(options: { state: string }, done: (e: null, html: string) => void) {
          done(null, page(options.state));
        }
      },
    );
    return;
  }
  framework.decorateReply('view', function (this: AnyResponse, _name: string, { state }: { state: string }) {
    return this.header('content-type', 'text/html; charset=utf-8').send(page(state));
  });
}

describe.each(ADAPTERS)('onLimited on %s, whatever the handler does with the response', (adapter) => {
  let app: INestApplication;
  beforeEach(async () => {
    const imports = [RateLimitModule.forRoot({ store: new MemoryStore() })];
    app = await createApp(adapter, { imports, controllers: [Resource] }, renderPages);
  });
  afterEach(() => app.close());
  const send = (path: string) => {
    const agent = request(app.getHttpServer());
    return (path === 'res-object' ? agent.post(`/${path}`) : agent.get(`/${path}`)).redirects(0).timeout(4000);
  };

  it.each<[string, status: number, text: string | RegExp, headers?: Record<string, string>]>([
    ['res', 200, 'stale'],
    ['res-object', 201, '{"stale":true}', { 'content-type': 'application/json; charset=utf-8' }],
    ['res-observable', 200, 'stale'],
    ['res-empty', 200, ''],
    ['res-error', 504, '{"statusCode":504,"message":"no cache"}'],
    ['res-code', 203, 'stale', { 'x-cache': 'yes' }],
    ['res-retried', 200, 'stale'],
    ['res-sent', 200, 'stale'],
    ['next', 200, 'stale'],
    ['passthrough', 200, 'stale'],
    ['decorated', 200, 'stale'],
    ['redirect', 200, 'stale'],
    ['redirect-object', 200, '{"stale":true}'],
    ['redirect-elsewhere', 307, '', { location: '/stale' }],
    ['redirect-failing', 503, '{"statusCode":503,"message":"stale"}'],
    ['render', 200, '<p>stale</p>', { 'content-type': 'text/html; charset=utf-8' }],
    ['render-text', 200, 'stale'],
    ['file', 200, 'stale'],
    ['events', 200, /data: stale/],
  ])('answers /%s with its value', async (path, status, text, headers = {}) => {
    await send(path);
    const response = await send(path);
    expect(response.status).toBe(status);
    if (path !== 'redirect-elsewhere')
      expect(response.text).toEqual(typeof text === 'string' ? text : expect.stringMatching(text));
    expect(response.headers).toMatchObject({ ...headers, 'retry-after': '3600' });
  });

  it.each(['res-file', 'render-file', 'file-too'])('streams a file in place of /%s', async (path) => {
    await send(path);
    const { status, text, headers } = await send(path);
    expect([status, text, headers['content-type']]).toEqual([200, 'stale', 'text/csv']);
  });

  it('leaves the admitted requests to the handler', async () => {
    expect((await send('res')).headers['x-from']).toBe('handler');
    expect((await send('redirect')).headers.location).toBe('/fresh');
    expect((await send('render')).text).toBe('<p>fresh</p>');
  });
});

import { type ClientRequest, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import {
  type CallHandler,
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  type INestApplication,
  type NestInterceptor,
  ParseIntPipe,
  Query,
  RequestTimeoutException,
  Res,
  Sse,
  StreamableFile,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { type Bucket, BucketService, RateLimit, RateLimitModule } from 'nest-rate-limit';
import { interval, map, throwError, timeout } from 'rxjs';
import request from 'supertest';
import { COMBINATIONS, createApp, storeOptions } from '../support/create-app.js';
import { until } from '../support/requests.js';

const TWO = { name: 'two', concurrency: 2, key: 'all' } as const;

/** Handlers that run until the test ends them. */
class Running {
  readonly ends: (() => void)[] = [];
  /** How many handlers run now. */
  count = 0;

  async run(): Promise<void> {
    this.count++;
    await new Promise<void>((resolve) => this.ends.push(resolve));
    this.count--;
  }

  endAll(): void {
    for (const end of this.ends.splice(0)) end();
  }
}

const running = new Running();

class Auth implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

/** Answers before the handler has ended. */
class GiveUp implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler) {
    return next.handle().pipe(timeout({ each: 50, with: () => throwError(() => new RequestTimeoutException()) }));
  }
}

interface RawResponse {
  end(text: string): void;
}

@Controller()
class Work {
  @RateLimit(TWO)
  @Get('run')
  async run() {
    await running.run();
    return 'done';
  }

  @RateLimit({ ...TWO, maxWait: '10s' })
  @Get('wait')
  async wait() {
    await running.run();
    return 'done';
  }

  @RateLimit({ ...TWO, maxWait: 100 })
  @Get('wait-briefly')
  waitBriefly() {
    return 'done';
  }

  @RateLimit(TWO)
  @Get('fail')
  fail() {
    throw new Error('failed');
  }

  @RateLimit(TWO)
  @UseGuards(Auth)
  @Get('forbidden')
  forbidden() {}

  @RateLimit(TWO)
  @UseInterceptors(GiveUp)
  @Get('timeout')
  async timeout() {
    await running.run();
  }

  @RateLimit(TWO)
  @Get('pipe')
  pipe(@Query('n', ParseIntPipe) n: number) {
    return n;
  }

  @RateLimit(TWO)
  @Get('stream')
  stream() {
    const stream = new Readable({ read() {} });
    stream.push('first');
    running.ends.push(() => stream.push(null));
    return new StreamableFile(stream);
  }

  @RateLimit(TWO)
  @Sse('events')
  events() {
    return interval(10).pipe(map((data) => ({ data: `${data}` })));
  }

  @RateLimit(TWO)
  @Get('raw')
  async raw(@Res() response: RawResponse & { raw?: RawResponse }) {
    (response.raw ?? response).end('sent');
    await running.run();
  }
}

@RateLimit(TWO)
@Controller('class')
class OfClass {
  @UseInterceptors(GiveUp)
  @Get('timeout')
  async timeout() {
    await running.run();
  }
}

describe.each(COMBINATIONS)('a concurrency limit of handlers on $adapter with $store', ({ adapter, store }) => {
  let app: INestApplication;
  let bucket: Bucket;
  let port: number;

  beforeAll(async () => {
    app = await createApp(adapter, {
      imports: [RateLimitModule.forRoot(storeOptions(store))],
      controllers: [Work, OfClass],
    });
    await app.listen(0, '127.0.0.1');
    port = (app.getHttpServer().address() as AddressInfo).port;
    bucket = app.get(BucketService).bucket({ name: 'two', concurrency: 2 }, 'all');
  });
  afterEach(async () => {
    running.endAll();
    await until(async () => (await bucket.available()) === 2);
  });
  afterAll(() => app.close());

  const send = async (path: string) => request(app.getHttpServer()).get(path);
  /** A client that can hang up. */
  const open = (path: string): ClientRequest => get({ port, host: '127.0.0.1', path }).on('error', () => {});
  const free = async (count: number) => until(async () => (await bucket.available()) === count);

  it('rejects a request beyond the limit with 429, and admits it when one has ended', async () => {
    const first = [send('/run'), send('/run')];
    await until(() => running.count === 2);
    const denied = await send('/run');
    expect(denied.status).toBe(429);
    expect(denied.headers['retry-after']).toBe('1');
    running.endAll();
    for (const response of await Promise.all(first)) expect(response.text).toBe('done');
    await free(2);
    const next = send('/run');
    await until(() => running.count === 1);
    running.endAll();
    expect((await next).status).toBe(200);
  });

  it('suspends a request until a slot is free', async () => {
    const first = [send('/wait'), send('/wait')];
    await until(() => running.count === 2);
    const waiting = [send('/wait'), send('/wait'), send('/wait')];
    await sleep(50);
    expect(running.count).toBe(2);
    expect((await send('/run')).status).toBe(429);
    for (let ended = 0; ended < 5; ended++) {
      await until(() => running.ends.length > 0);
      running.ends.shift()?.();
    }
    for (const response of await Promise.all([...first, ...waiting])) expect(response.status).toBe(200);
  });

  it('rejects a request that has waited for `maxWait`', async () => {
    const first = [send('/run'), send('/run')];
    await until(() => running.count === 2);
    const denied = await send('/wait-briefly');
    expect(denied.status).toBe(429);
    running.endAll();
    await Promise.all(first);
  });

  it('does not run the handler of a client that hangs up while it waits', async () => {
    const first = [send('/run'), send('/run')];
    await until(() => running.count === 2);
    const waiting = open('/wait');
    await sleep(50);
    waiting.destroy();
    await sleep(50);
    running.endAll();
    await Promise.all(first);
    await free(2);
    expect(running.count).toBe(0);
  });

  it('holds the slot of a client that hangs up until its handler has ended', async () => {
    const client = open('/run');
    await until(() => running.count === 1);
    client.destroy();
    await sleep(100);
    expect(await bucket.available()).toBe(1);
    running.endAll();
    await free(2);
  });

  it.each(['/timeout', '/class/timeout'])(
    'holds the slot of a request that timed out until its handler has ended: %s',
    async (path) => {
      expect((await send(path)).status).toBe(408);
      await sleep(50);
      expect(await bucket.available()).toBe(1);
      running.endAll();
      await free(2);
    },
  );

  it('holds the slot until the handler has ended, though it has sent the response', async () => {
    expect((await send('/raw')).text).toBe('sent');
    await sleep(50);
    expect(await bucket.available()).toBe(1);
    running.endAll();
    await free(2);
  });

  it('holds the slot until a stream has been sent', async () => {
    const client = open('/stream');
    await until(() => running.ends.length === 1);
    await sleep(50);
    expect(await bucket.available()).toBe(1);
    running.endAll();
    await free(2);
    client.destroy();
  });

  it.each(['/stream', '/events'])('releases the slot when the client of a stream hangs up: %s', async (path) => {
    const client = open(path);
    await free(1);
    await sleep(50);
    expect(await bucket.available()).toBe(1);
    client.destroy();
    await free(2);
  });

  it.each([
    ['fails', '/fail', 500],
    ['is rejected by a later guard', '/forbidden', 403],
    ['is rejected by a pipe', '/pipe?n=x', 400],
  ])('releases the slot of a request that %s', async (_how, path, status) => {
    for (let i = 0; i < 3; i++) {
      expect((await send(path)).status).toBe(status);
      await free(2);
    }
  });
});

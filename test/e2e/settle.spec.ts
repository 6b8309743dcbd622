import { type ClientRequest, get, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import {
  type ArgumentsHost,
  type CanActivate,
  Catch,
  Controller,
  type ExceptionFilter,
  type ExecutionContext,
  Get,
  HttpException,
  type INestApplication,
  Logger,
  Query,
  Res,
  StreamableFile,
  UnauthorizedException,
  UseFilters,
  UseGuards,
} from '@nestjs/common';
import { BucketService, ClientGoneError, type Outcome, RateLimit, RateLimitModule } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import request from 'supertest';
import { COMBINATIONS, createApp } from '../support/create-app.js';
import { clockedStore, until } from '../support/requests.js';

const FIVE = { capacity: 5, refill: 1, unit: 'hour' } as const;
const outcomes: Outcome[] = [];
const runs: string[] = [];
let release = () => {};

/** Returns the `cost` from the handler's result. */
async function costOf(_context: ExecutionContext, outcome: Outcome): Promise<number> {
  outcomes.push(outcome);
  const { cost } = (outcome.value ?? {}) as { cost?: number };
  return cost ?? 0;
}

class Auth implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const { query } = context.switchToHttp().getRequest<{ query: { auth?: string } }>();
    if (query.auth === 'throw') throw new UnauthorizedException();
    return query.auth !== 'no';
  }
}

/** Admits the request once `release` is called. */
class SlowGuard implements CanActivate {
  async canActivate(): Promise<boolean> {
    runs.push('guard');
    await new Promise<void>((resolve) => {
      release = resolve;
    });
    return true;
  }
}

class RecoverableError extends Error {}

@Catch(RecoverableError)
class RecoveringFilter implements ExceptionFilter {
  catch(_error: RecoverableError, host: ArgumentsHost) {
    const response = host.switchToHttp().getResponse<{ status(code: number): { send(body: string): void } }>();
    response.status(202).send('mended');
  }
}

interface RawResponse {
  statusCode: number;
  write(text: string): void;
  end(text: string): void;
}

@Controller()
class Resource {
  @UseGuards(Auth)
  @RateLimit({ ...FIVE, name: 'failures', settle: 'failures' })
  @Get('failures')
  failures(@Query('status') status?: string) {
    if (status === 'mended') throw new RecoverableError();
    if (status) throw new HttpException('no', Number(status));
  }

  @UseGuards(Auth)
  @UseFilters(RecoveringFilter)
  @RateLimit({ ...FIVE, name: 'successes', settle: 'successes' })
  @Get('successes')
  successes(@Query('status') status?: string) {
    this.failures(status);
  }

  @UseFilters(RecoveringFilter)
  @RateLimit({ ...FIVE, name: 'cost', cost: 2, settle: costOf })
  @Get('cost')
  cost(@Query('is') is?: string) {
    if (is === 'mended') throw new RecoverableError();
    if (is === undefined) throw new HttpException('no', 418);
    return { cost: Number(is) };
  }

  @RateLimit({ maxRequest: 5, unit: 'hour', name: 'window-cost', settle: costOf })
  @Get('window-cost')
  windowCost(@Query('is') is: string) {
    return { cost: Number(is) };
  }

  @RateLimit({ ...FIVE, name: 'rejecting', settle: () => Promise.reject() })
  @Get('rejecting')
  rejecting() {}

  @RateLimit('of-the-module')
  @Get('named')
  named() {
    return { cost: 4 };
  }

  @RateLimit(() => 'of-the-module')
  @Get('told')
  told() {
    return { cost: 3 };
  }

  @Get('undecorated')
  undecorated() {
    return { cost: 2 };
  }

  @RateLimit({ ...FIVE, name: 'stream', settle: costOf })
  @Get('stream')
  stream() {
    const parts = (async function* () {
      yield 'a';
      await new Promise(setImmediate);
      yield 'b';
    })();
    return new StreamableFile(Readable.from(parts, { objectMode: false }));
  }

  @RateLimit({ ...FIVE, name: 'endless', settle: costOf })
  @Get('endless')
  endless() {
    return new StreamableFile(new Readable({ read() {} }));
  }

  @RateLimit({ ...FIVE, name: 'raw', settle: costOf })
  @Get('raw')
  raw(@Res() response: { raw?: RawResponse } & RawResponse) {
    const raw = response.raw ?? response;
    raw.statusCode = 418;
    raw.write('tea');
    setImmediate(() => raw.end('pot'));
  }

  @RateLimit({ ...FIVE, name: 'slow-failures', settle: 'failures' })
  @RateLimit({ ...FIVE, name: 'slow-successes', settle: 'successes' })
  @RateLimit({ ...FIVE, name: 'slow-cost', settle: costOf })
  @Get('slow')
  async slow(@Query('status') status?: string) {
    runs.push('handler');
    await new Promise<void>((resolve) => {
      release = resolve;
    });
    if (status) throw new HttpException('no', Number(status));
    return { cost: 3 };
  }

  @UseGuards(SlowGuard)
  @RateLimit({ ...FIVE, name: 'later-guard', settle: 'successes' })
  @Get('later-guard')
  laterGuard() {
    runs.push('handler');
  }

  @RateLimit({ capacity: 1, refill: 1, maxWait: '5s', name: 'waiting', settle: costOf })
  @Get('waiting')
  waiting() {
    runs.push('handler');
    return { cost: 1 };
  }
}

describe.each(COMBINATIONS)('settle on $adapter with the $store store', ({ adapter, store }) => {
  const clock = new FakeClock();
  let app: INestApplication;
  let port: number;
  let closed = 0;
  beforeAll(async () => {
    app = await createApp(adapter, {
      imports: [
        RateLimitModule.forRoot({
          ...clockedStore(store, clock),
          key: 'all',
          policies: { 'of-the-module': { ...FIVE, settle: costOf } },
          default: { ...FIVE, name: 'default', settle: costOf },
        }),
      ],
      controllers: [Resource],
    });
    app.getHttpServer().on('request', (_: unknown, response: ServerResponse) => response.once('close', () => closed++));
    await app.listen(0, '127.0.0.1');
    port = (app.getHttpServer().address() as AddressInfo).port;
  });
  beforeEach(async () => {
    outcomes.length = 0;
    runs.length = 0;
    await clock.advance(10 * 3_600_000);
  });
  afterAll(() => app.close());
  const status = async (path: string) => (await request(app.getHttpServer()).get(path)).status;
  const left = (name: string, policy: object = FIVE) =>
    app
      .get(BucketService)
      .bucket({ ...policy, name }, 'all')
      .available();
  const settled = (name: string, tokens: number) => until(async () => (await left(name)) === tokens);
  const call = (path: string) => get({ port, path, agent: false }).on('error', () => {});
  /** Disconnects the client. Resolves when the server has noticed. */
  const disconnect = (client: ClientRequest) => {
    const before = closed;
    client.destroy();
    return until(() => closed > before);
  };

  it("charges only failures of the handler or of later guards, with settle: 'failures'", async () => {
    expect(await status('/failures')).toBe(200);
    await settled('failures', 5);
    for (const [query, code] of [
      ['status=404', 404],
      ['status=500', 500],
      ['auth=throw', 401],
      ['auth=no', 403],
    ]) {
      expect(await status(`/failures?${query}`)).toBe(code);
    }
    await settled('failures', 1);
    expect(await status('/failures')).toBe(200);
    expect(await status('/failures?status=mended')).toBe(500);
    expect(await status('/failures')).toBe(429);
    expect(await left('failures')).toBe(0);
  });

  it("charges only successes, with settle: 'successes'", async () => {
    for (const query of ['status=404', 'status=500', 'auth=throw', 'auth=no']) await status(`/successes?${query}`);
    await settled('successes', 5);
    expect(await status('/successes')).toBe(200);
    await settled('successes', 4);
  });

  it('charges or refunds the difference to the real cost', async () => {
    expect(await status('/cost?is=0.5')).toBe(200);
    await settled('cost', 4.5);
    expect(await status('/cost?is=2')).toBe(200);
    await settled('cost', 2.5);
    expect(await status('/cost?is=6')).toBe(200);
    await settled('cost', -3.5);
    expect(await status('/cost?is=1')).toBe(429);
    expect(outcomes).toEqual([0.5, 2, 6].map((cost) => ({ value: { cost }, status: 200, durationMs: 0 })));
  });

  it('passes the error and the status of the response to the settle function', async () => {
    expect(await status('/cost')).toBe(418);
    expect(await status('/cost?is=mended')).toBe(202);
    await settled('cost', 5);
    expect(outcomes).toEqual([
      { error: expect.any(HttpException), status: 418, durationMs: 0 },
      { error: expect.any(RecoverableError), status: 202, durationMs: 0 },
    ]);
  });

  it('keeps the initial cost if the real cost is invalid', async () => {
    expect(await status('/cost?is=-1')).toBe(200);
    expect(await status('/cost?is=x')).toBe(200);
    await until(() => outcomes.length === 2);
    expect(await left('cost')).toBe(1);
  });

  it('rounds the real cost up to a thousandth, in a sliding window, too', async () => {
    for (const [path, cost] of [
      ['cost', '1.0000000000000002'], // a sum of floating-point numbers
      ['cost', '2.3333333333333335'],
      ['window-cost', '0.3333333333333333'],
      ['window-cost', '1.0001'],
    ]) {
      expect(await status(`/${path}?is=${cost}`)).toBe(200);
      await until(() => outcomes.length === 1);
      outcomes.length = 0;
    }
    await settled('cost', 1.666);
    await until(async () => (await left('window-cost', { maxRequest: 5, unit: 'hour' })) === 3.665);
  });

  it('warns and keeps the initial cost if the settle function rejects with undefined', async () => {
    const warn = jest.spyOn(Logger.prototype, 'warn').mockReturnValue();
    expect(await status('/rejecting')).toBe(200);
    await until(() => warn.mock.calls.length > 0);
    expect(warn).toHaveBeenCalledWith('Policy rejecting: the cost of a request could not be settled: undefined');
    warn.mockRestore();
    expect(await left('rejecting')).toBe(4);
  });

  it.each([
    ['named', 4, 'of-the-module'],
    ['told', 3, 'of-the-module'],
    ['undecorated', 2, 'default'],
  ])('passes the value of the handler to the settle function: /%s', async (path, cost, name) => {
    expect(await status(`/${path}`)).toBe(200);
    await settled(name, 5 - cost);
    expect(outcomes).toEqual([{ value: { cost }, status: 200, durationMs: 0 }]);
  });

  it('settles when a stream or a manually written response ends', async () => {
    expect((await request(app.getHttpServer()).get('/stream').buffer(true)).status).toBe(200);
    expect(await status('/raw')).toBe(418);
    await until(() => outcomes.length === 2);
    expect(outcomes).toEqual([
      { value: expect.any(StreamableFile), status: 200, durationMs: 0 },
      { value: undefined, status: 418, durationMs: 0 },
    ]);
  });

  it('settles a stream when its client disconnects', async () => {
    const client = call('/endless');
    await until(async () => (await left('endless')) === 4);
    client.destroy();
    await until(() => outcomes.length === 1);
    expect(outcomes).toEqual([
      { value: expect.any(StreamableFile), error: expect.any(ClientGoneError), status: 499, durationMs: 0 },
    ]);
  });

  it('charges clients that disconnect before the handler succeeds', async () => {
    const client = call('/slow');
    await until(() => runs.length === 1);
    await disconnect(client);
    expect(outcomes).toEqual([]);
    release();
    await until(() => outcomes.length === 1);
    expect(outcomes).toEqual([{ value: { cost: 3 }, error: expect.any(ClientGoneError), status: 499, durationMs: 0 }]);
    await settled('slow-cost', 2);
    expect(await left('slow-successes')).toBe(4);
    expect(await left('slow-failures')).toBe(4);
  });

  it('counts an error after the client has disconnected as a failure', async () => {
    const client = call('/slow?status=500');
    await until(() => runs.length === 1);
    await disconnect(client);
    release();
    await settled('slow-successes', 5);
    expect(await left('slow-failures')).toBe(4);
    expect(outcomes).toEqual([{ error: expect.any(HttpException), status: 499, durationMs: 0 }]);
  });

  it('charges clients that disconnect before a later guard admits the request', async () => {
    const client = call('/later-guard');
    await until(() => runs.length === 1);
    await disconnect(client);
    release();
    await until(() => runs.length === 2);
    await new Promise(setImmediate);
    expect(await left('later-guard')).toBe(4);
  });

  it('refunds a queued request only once when its client disconnects', async () => {
    const policy = { capacity: 1, refill: 1 };
    expect(await status('/waiting')).toBe(200);
    const client = call('/waiting');
    await until(async () => (await left('waiting', policy)) === -1);
    client.destroy();
    await until(async () => (await left('waiting', policy)) === 0);
    await new Promise(setImmediate);
    expect(await left('waiting', policy)).toBe(0);
    expect(runs).toEqual(['handler']);
    expect(outcomes).toHaveLength(1);
  });

  it('settles a queued request when it ends', async () => {
    const policy = { capacity: 1, refill: 1 };
    expect(await status('/waiting')).toBe(200);
    const response = status('/waiting');
    await until(async () => (await left('waiting', policy)) === -1);
    await clock.advance(1000);
    expect(await response).toBe(200);
    await until(() => outcomes.length === 2);
    expect(await left('waiting', policy)).toBe(0);
  });
});

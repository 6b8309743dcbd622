import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  type CanActivate,
  Controller,
  type INestApplication,
  type NestInterceptor,
  RequestTimeoutException,
  type Type,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { Query, Resolver } from '@nestjs/graphql';
import { ClientProxyFactory, MessagePattern, RpcException, Transport } from '@nestjs/microservices';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { type Bucket, BucketService, MemoryStore, RateLimit, RateLimitModule } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { lastValueFrom, type Observable, retry, Subject, throwError, timeout } from 'rxjs';
import { createApp } from '../support/create-app.js';
import { graphqlModule, query } from '../support/graphql.js';
import { freePort } from '../support/redis.js';
import { until } from '../support/requests.js';
import { connect, useSockets } from '../support/websocket.js';

const TWO = { name: 'two', concurrency: 2 } as const;

let runs = 0;
let release: () => void = () => {};
let values = new Subject<string>();

const through = (pipe: (values: Observable<unknown>) => Observable<unknown>): NestInterceptor => ({
  intercept: (_context, next) => pipe(next.handle()),
});
const giveUp = through((all) =>
  all.pipe(timeout({ each: 20, with: () => throwError(() => new RequestTimeoutException()) })),
);

class Forbid implements CanActivate {
  async canActivate(): Promise<boolean> {
    throw new RpcException('no');
  }
}

/** A class with limited handlers. */
function handlers(bindClass: ClassDecorator, bind: (name: string) => MethodDecorator): Type {
  const limited = RateLimit({ ...TWO, key: 'all' });

  @bindClass
  class Handlers {
    @limited
    @UseGuards(Forbid)
    @bind('forbidden')
    forbidden() {}

    @limited
    @bind('slow')
    async slow() {
      runs++;
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      return 'done';
    }

    @limited
    @UseInterceptors(giveUp)
    @bind('slowBehindTimeout')
    async slowBehindTimeout() {
      return this.slow();
    }

    @limited
    @bind('fails')
    fails() {
      runs++;
      throw new Error('failed');
    }

    @limited
    @UseInterceptors(through((all) => all.pipe(retry({ count: 1, delay: 30 }))))
    @bind('failsOnce')
    failsOnce() {
      if (runs++ === 0) throw new Error('failed');
      return this.slow();
    }

    @limited
    @bind('emits')
    emits() {
      runs++;
      return values;
    }
  }
  return Handlers;
}

interface Rig {
  readonly app: INestApplication;
  send(name: string): Promise<unknown>;
  disconnect?(): void;
}

async function overTcp(store: MemoryStore): Promise<Rig> {
  const options = { host: '127.0.0.1', port: await freePort() };
  const controllers = [handlers(Controller(), (name) => MessagePattern(name))];
  const app = await createApp('express', { imports: [RateLimitModule.forRoot({ store })], controllers });
  app.connectMicroservice({ transport: Transport.TCP, options }, { inheritAppConfig: true });
  await app.startAllMicroservices();
  const client = ClientProxyFactory.create({ transport: Transport.TCP, options });
  const disconnect = () => client.close();
  return { app, send: (name) => lastValueFrom(client.send(name, {})).catch(() => {}), disconnect };
}

async function overSockets(store: MemoryStore): Promise<Rig> {
  const providers = [handlers(WebSocketGateway(), (event) => SubscribeMessage(event))];
  const imports = [RateLimitModule.forRoot({ store })];
  const app = await createApp('express', { imports, providers }, (created) => useSockets(created, 'ws'));
  await app.listen(0, '127.0.0.1');
  const client = await connect(app, 'ws');
  return { app, send: async (event) => client.send(event, {}), disconnect: () => client.close() };
}

async function overGraphql(store: MemoryStore): Promise<Rig> {
  const providers = [handlers(Resolver(), (name) => Query(() => String, { name, nullable: true }))];
  const module = graphqlModule('Apollo on Express');
  const app = await createApp('express', { imports: [RateLimitModule.forRoot({ store }), module], providers });
  await app.listen(0, '127.0.0.1');
  return { app, send: (name) => query(app, `{ ${name} }`) };
}

const TRANSPORTS = { TCP: overTcp, ws: overSockets, GraphQL: overGraphql };

describe.each(Object.entries(TRANSPORTS))('The slot of a message over %s', (name, start) => {
  let rig: Rig;
  let bucket: Bucket;
  let clock: FakeClock;
  beforeEach(async () => {
    runs = 0;
    values = new Subject();
    clock = new FakeClock();
    rig = await start(new MemoryStore({ clock }));
    bucket = rig.app.get(BucketService).bucket(TWO, 'all');
  });
  afterEach(async () => {
    rig.disconnect?.();
    await rig.app.close();
  });
  const free = (count: number) => until(async () => (await bucket.available()) === count);
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

  it('is held until its handler has ended', async () => {
    const sent = rig.send('slow');
    await until(() => runs === 1);
    expect(await bucket.available()).toBe(1);
    release();
    await sent;
    await free(2);
  });

  it('is released when its handler fails', async () => {
    await rig.send('fails');
    await until(() => runs === 1);
    await free(2);
  });

  it('is held while an interceptor retries', async () => {
    const sent = rig.send('failsOnce');
    await until(() => runs === 1);
    await pause(10);
    expect(await bucket.available()).toBe(1);
    await until(() => runs === 3);
    expect(await bucket.available()).toBe(1);
    release();
    await sent;
    await free(2);
  });

  it('is held until a handler has ended that nothing listens to any more', async () => {
    await rig.send('slowBehindTimeout');
    await until(() => runs === 1);
    await pause(50);
    expect(await bucket.available()).toBe(1);
    release();
    await free(2);
  });

  it('is held until an Observable has completed', async () => {
    const sent = rig.send('emits');
    await until(() => runs === 1 && values.observed);
    values.next('first');
    await pause(10);
    expect(await bucket.available()).toBe(1);
    values.complete();
    await sent;
    await free(2);
  });

  if (name === 'GraphQL') {
    it('is released when a later guard rejects it', async () => {
      await rig.send('forbidden');
      await free(2);
    });
    return;
  }

  it('is held until its handler has ended, although the client has disconnected', async () => {
    void rig.send('slow');
    await until(() => runs === 1);
    rig.disconnect?.();
    await pause(30);
    expect(await bucket.available()).toBe(1);
    release();
    await free(2);
  });

  it('is released ten seconds after a later guard has rejected it', async () => {
    await rig.send('forbidden');
    await free(1);
    await clock.advance(9_999);
    expect(await bucket.available()).toBe(1);
    await clock.advance(1);
    await free(2);
  });
});

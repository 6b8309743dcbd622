import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Controller, type ExecutionContext, type INestMicroservice, Logger } from '@nestjs/common';
import {
  type ClientProxy,
  ClientProxyFactory,
  Ctx,
  EventPattern,
  MessagePattern,
  type MicroserviceOptions,
  Payload,
  RmqContext,
  type RmqOptions,
  Transport,
} from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { type Channel, type ChannelModel, connect } from 'amqplib';
import { MemoryStore, RateLimit, RateLimitModule, type RateLimitModuleOptions } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { lastValueFrom } from 'rxjs';
import { type Broker, startRabbitMq } from '../support/brokers.js';
import { declaredIn } from '../support/pages.js';
import { until } from '../support/requests.js';

const ONE = { capacity: 1, refill: 1, key: 'all' } as const;
const runs: unknown[] = [];

function acknowledge(context: RmqContext): void {
  if (context.getArgByIndex(0).fields.consumerTag.startsWith('manual')) {
    context.getChannelRef().ack(context.getMessage());
  }
}

@Controller()
class Orders {
  @RateLimit({ ...ONE, name: 'event' })
  @EventPattern<string>('event')
  event(@Payload() data: unknown, @Ctx() context: RmqContext) {
    runs.push(data);
    acknowledge(context);
  }

  @RateLimit({ ...ONE, name: 'queued', maxWait: '1m' })
  @EventPattern<string>('queued')
  queued(@Payload() data: unknown, @Ctx() context: RmqContext) {
    runs.push(data);
    acknowledge(context);
  }

  @RateLimit({ ...ONE, name: 'message' })
  @MessagePattern('message')
  message(@Payload() data: unknown, @Ctx() context: RmqContext) {
    acknowledge(context);
    return data;
  }
}

let broker: Broker;
let connection: ChannelModel;
let channel: Channel;
let queue = '';
let app: INestMicroservice;
let client: ClientProxy;
let clock: FakeClock;
let tests = 0;
beforeAll(async () => {
  broker = await startRabbitMq();
  connection = await connect(broker.url);
  channel = await connection.createChannel();
});
afterAll(async () => {
  await connection.close();
  await broker.stop();
});
beforeEach(() => {
  runs.length = 0;
  queue = `orders-${process.pid}-${++tests}`;
  clock = new FakeClock();
});
afterEach(async () => {
  await client.close();
  await app.close();
  jest.restoreAllMocks();
});

async function start(options: RmqOptions['options'], module: RateLimitModuleOptions = {}): Promise<void> {
  const built = await Test.createTestingModule({
    imports: [RateLimitModule.forRoot({ store: new MemoryStore({ clock }), ...module })],
    controllers: [Orders],
  }).compile();
  const rmq = { urls: [broker.url], queue, queueOptions: { durable: true, ...options?.queueOptions } };
  const consumerTag = `${options?.noAck === false ? 'manual' : 'auto'}-${queue}`;
  app = built.createNestMicroservice<MicroserviceOptions>({
    transport: Transport.RMQ,
    options: { ...rmq, ...options, queueOptions: rmq.queueOptions, consumerTag },
    logger: false,
  });
  await app.listen();
  client = ClientProxyFactory.create({ transport: Transport.RMQ, options: rmq });
  await client.connect();
}

const emit = (pattern: string, data: unknown) => lastValueFrom(client.emit(pattern, data), { defaultValue: undefined });
const send = (pattern: string, data: unknown) =>
  lastValueFrom(client.send(pattern, data)).catch((error) => ({ error }));
const waiting = async (name = queue) => (await channel.checkQueue(name)).messageCount;
const rejection = { status: 'error', message: 'Too Many Requests', retryAfter: 1000 };

const settle = await declaredIn<(context: ExecutionContext) => void>('docs/guides/message-brokers.md', 'settleDenied');

describe('RabbitMQ', () => {
  it('answers a denied message, and drops a denied event, if messages need no acknowledgement', async () => {
    const errors = jest.spyOn(Logger.prototype, 'error').mockImplementation(() => {});
    await start({});
    expect([await send('message', 1), await send('message', 2)]).toEqual([1, { error: rejection }]);
    for (const n of [1, 2, 3]) await emit('event', n);
    await until(async () => runs.length === 1 && (await waiting()) === 0);
    expect(await send('message', 3)).toEqual({ error: rejection });
    expect(runs).toEqual([1]);
    expect(errors).not.toHaveBeenCalled();
  });

  it('keeps a denied event unacknowledged, which blocks a consumer with prefetchCount until it closes', async () => {
    const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
    await start({ noAck: false, prefetchCount: 1 });
    for (const n of [1, 2, 3]) await emit('event', n);
    await until(async () => runs.length === 1 && (await waiting()) === 1);
    await clock.advance(60_000);
    expect(runs).toEqual([1]);
    const hint = 'with `noAck: false`, acknowledge denied messages in `onLimited`, or they block their consumer';
    expect(warn.mock.calls).toEqual([[`Policy event denied a message: ${hint}`]]);
    await client.close();
    await app.close();
    expect(await waiting()).toBe(2);
    await start({ noAck: false, prefetchCount: 1 });
    await until(() => runs.length === 2);
    expect(runs).toEqual([1, 2]);
  });

  it('loses no event, and blocks no consumer, with maxWait', async () => {
    await start({ noAck: false, prefetchCount: 1 });
    for (const n of [1, 2, 3]) await emit('queued', n);
    for (let n = 1; n <= 3; n++) {
      await until(() => runs.length === n);
      await until(async () => (await waiting()) === Math.max(0, 2 - n));
      await new Promise(setImmediate);
      await clock.advance(1000);
    }
    expect(runs).toEqual([1, 2, 3]);
  });

  it('redelivers denied events through a dead-letter queue, without a warning', async () => {
    const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
    const later = `${queue}.later`;
    const back = { deadLetterExchange: '', deadLetterRoutingKey: queue };
    await channel.assertQueue(later, { durable: true, messageTtl: 20, ...back });
    const queueOptions = { arguments: { 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': later } };
    await start({ noAck: false, prefetchCount: 1, queueOptions }, { onLimited: settle });
    for (const n of [1, 2, 3]) await emit('event', n);
    await until(() => runs.length === 1);
    for (const count of [2, 3]) {
      await clock.advance(1000);
      await until(() => runs.length === count);
    }
    expect(runs.toSorted()).toEqual([1, 2, 3]);
    await until(async () => (await waiting()) + (await waiting(later)) === 0);
    expect(warn).not.toHaveBeenCalled();
  });

  it('acknowledges denied messages that are answered', async () => {
    await start({ noAck: false, prefetchCount: 1 }, { onLimited: settle });
    expect([await send('message', 1), await send('message', 2)]).toEqual([1, { error: rejection }]);
    await clock.advance(1000);
    expect(await send('message', 3)).toBe(3);
  });
});

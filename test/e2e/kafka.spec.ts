import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Controller, type INestMicroservice, Logger } from '@nestjs/common';
import { EventPattern, KafkaHeaders, MessagePattern, Payload, ServerKafka } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import {
  BucketService,
  MemoryStore,
  RateLimit,
  RateLimitModule,
  type RateLimitModuleOptions,
  type RateLimitOptions,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { BrokenStore } from '../support/broken-store.js';
import { MemoryPartition } from '../support/kafka.js';
import { declaredIn } from '../support/pages.js';
import { until } from '../support/requests.js';

const runs: unknown[] = [];
const replies: { readonly topic: string; readonly error: unknown; readonly value: unknown }[] = [];
let partition: MemoryPartition;
let clock: FakeClock;
let app: INestMicroservice;
beforeEach(() => {
  runs.length = 0;
  replies.length = 0;
  clock = new FakeClock();
  partition = new MemoryPartition();
});
afterEach(async () => {
  await partition.stop();
  await app.close();
  jest.restoreAllMocks();
});

/** Nest's server on a partition in memory. */
class MemoryKafka extends ServerKafka {
  override async listen(callback: () => void): Promise<void> {
    Object.assign(this, { consumer: partition.consumer, producer: { send: async (reply: Reply) => record(reply) } });
    await partition.start(this.getMessageHandler() as never);
    callback();
  }

  override async close(): Promise<void> {}
}

interface Reply {
  readonly topic: string;
  readonly messages: readonly { readonly value: unknown; readonly headers?: Readonly<Record<string, Buffer>> }[];
}

function record({ topic, messages }: Reply): void {
  for (const { value, headers } of messages) {
    const failure = headers?.[KafkaHeaders.NEST_ERR];
    const error = failure && JSON.parse(String(failure));
    if (value !== null || error) replies.push({ topic, value, error });
  }
}

async function start(
  limit: RateLimitOptions,
  pattern: 'event' | 'message',
  module: RateLimitModuleOptions = {},
): Promise<void> {
  @Controller()
  class Orders {
    constructor(private readonly buckets: BucketService) {}

    @RateLimit({ name: 'orders', key: 'all', ...limit })
    @(pattern === 'event' ? EventPattern('orders') : MessagePattern('orders'))
    async handle(@Payload() order: { own?: boolean }) {
      if (order.own)
        await this.buckets.bucket({ capacity: 1, refill: 100, name: 'own' }, 'all').consume(1, { maxWait: 0 });
      runs.push(order);
      return 'done';
    }
  }
  const built = await Test.createTestingModule({
    imports: [RateLimitModule.forRoot({ store: new MemoryStore({ clock }), ...module })],
    controllers: [Orders],
  }).compile();
  app = built.createNestMicroservice({ strategy: new MemoryKafka({ client: { brokers: [] } }), logger: false });
  await app.listen();
}

describe('Kafka', () => {
  it('redelivers denied events in their order when they may be retried', async () => {
    const errors = jest.spyOn(Logger.prototype, 'error').mockImplementation(() => {});
    const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
    await start({ capacity: 2, refill: 100 }, 'event');
    for (let n = 1; n <= 4; n++) partition.add({ n });
    await until(() => partition.pauses === 1);
    expect(runs).toEqual([{ n: 1 }, { n: 2 }]);
    expect(partition.committed).toBe(2);
    await clock.advance(10);
    await until(() => runs.length === 3);
    await until(() => partition.pauses >= 2);
    await clock.advance(10);
    await until(() => partition.committed === 4);
    expect(runs).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4 }]);
    expect([...errors.mock.calls, ...warn.mock.calls]).toEqual([]);
    expect(partition.crashed).toBeUndefined();
  });

  it('redelivers an event whose handler threw a rejection', async () => {
    await start({ capacity: 10, refill: 1 }, 'event');
    for (let i = 0; i < 2; i++) partition.add({ own: true });
    await until(() => partition.pauses === 1);
    expect(partition.committed).toBe(1);
    await clock.advance(10);
    await until(() => partition.committed === 2);
  });

  it('delivers events to a handler of messages again, too', async () => {
    await start({ capacity: 1, refill: 100 }, 'message');
    for (const n of [1, 2]) partition.add(n);
    await until(() => partition.pauses === 1);
    await clock.advance(10);
    await until(() => partition.committed === 2);
    expect(replies).toEqual([]);
  });

  it('pauses the partition while the store is unavailable', async () => {
    await start({ capacity: 1, refill: 1 }, 'event', { store: new BrokenStore(), failure: { mode: 'closed' } });
    partition.add(1);
    await until(() => partition.pauses === 1);
    expect(partition.committed).toBe(0);
    expect(runs).toEqual([]);
  });

  it('answers a denied message, and commits its offset', async () => {
    await start({ capacity: 1, refill: 1 }, 'message');
    const headers = { kafka_correlationId: 'c', kafka_replyTopic: 'replies' };
    for (const n of [1, 2]) partition.add(n, headers);
    await until(() => partition.committed === 2);
    await until(() => replies.length === 2);
    expect(replies).toMatchObject([
      { topic: 'replies', value: 'done' },
      { topic: 'replies', error: { status: 'error', message: 'Too Many Requests', retryAfter: 1000 } },
    ]);
    expect(partition.pauses).toBe(0);
  });

  it('leaves events that can never be allowed to the retries of kafkajs', async () => {
    partition.retries = 2;
    await start({ capacity: 1, refill: 1, cost: () => 2 }, 'event');
    partition.add(1);
    await until(() => partition.crashed !== undefined);
    expect(partition.crashed?.name).toBe('KafkaJSNumberOfRetriesExceeded');
    expect([partition.pauses, partition.committed]).toEqual([0, 0]);
  });

  it('queues events with maxWait', async () => {
    await start({ capacity: 1, refill: 1, maxWait: '10s' }, 'event');
    for (const n of [1, 2, 3]) partition.add(n);
    for (let n = 1; n <= 3; n++) {
      await until(() => runs.length === n);
      await new Promise(setImmediate);
      await clock.advance(1000);
    }
    await until(() => partition.committed === 3);
    expect(partition.pauses).toBe(0);
  });

  it('skips a denied event that onLimited sends to another topic', async () => {
    const onLimited = await declaredIn<() => Promise<null>>('docs/guides/message-brokers.md', 'sendToLater');
    await start({ capacity: 1, refill: 1, onLimited }, 'event');
    for (const n of [1, 2]) partition.add(n);
    await until(() => partition.committed === 2);
    expect(runs).toHaveLength(1);
    expect(replies).toMatchObject([{ topic: 'orders.later' }]);
  });
});

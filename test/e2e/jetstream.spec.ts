import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, type INestMicroservice } from '@nestjs/common';
import { Ctx, EventPattern, Payload } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { MemoryStore, RateLimit, RateLimitModule, type RateLimitModuleOptions } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { type Broker, startNats } from '../support/brokers.js';
import { JetStreamContext, JetStreamServer } from '../support/jetstream.js';
import { declaredIn } from '../support/pages.js';
import { until } from '../support/requests.js';

const runs: unknown[] = [];
const STREAM = `orders-${process.pid}`;

@Controller()
class Orders {
  @RateLimit({ capacity: 1, refill: 100, key: 'all' })
  @EventPattern<string>(`${STREAM}.created`)
  created(@Payload() data: unknown, @Ctx() context: JetStreamContext) {
    runs.push(data);
    context.getMessage().ack();
  }
}

let broker: Broker;
let server: JetStreamServer;
let app: INestMicroservice;
let clock: FakeClock;
beforeAll(async () => {
  broker = await startNats();
});
afterAll(() => broker.stop());
beforeEach(() => {
  runs.length = 0;
  clock = new FakeClock();
});
afterEach(() => app.close());

async function start(module: RateLimitModuleOptions): Promise<void> {
  const built = await Test.createTestingModule({
    imports: [RateLimitModule.forRoot({ store: new MemoryStore({ clock }), ...module })],
    controllers: [Orders],
  }).compile();
  server = new JetStreamServer(broker.url, STREAM);
  app = built.createNestMicroservice({ strategy: server, logger: false });
  await app.listen();
}

const redeliver = await declaredIn<RateLimitModuleOptions['onLimited']>('docs/guides/message-brokers.md', 'redeliver');

describe('NATS JetStream', () => {
  it('redelivers denied events when they may be retried', async () => {
    await start({ onLimited: redeliver });
    for (const n of [1, 2, 3]) await server.publish('created', n);
    for (let n = 1; n <= 3; n++) {
      await until(() => runs.length === n);
      await clock.advance(10);
    }
    await until(async () => (await server.open()) === 0);
    expect(runs).toEqual([1, 2, 3]);
  });
});

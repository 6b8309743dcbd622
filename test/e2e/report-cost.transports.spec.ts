import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, type INestApplication } from '@nestjs/common';
import { Args, Int, Query, Resolver, Subscription } from '@nestjs/graphql';
import { ClientProxyFactory, MessagePattern, Payload, Transport } from '@nestjs/microservices';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import {
  BucketService,
  type Decision,
  RateLimit,
  RateLimitDecision,
  RateLimitModule,
  ReportCost,
} from 'nest-rate-limit';
import { lastValueFrom } from 'rxjs';
import { createApp } from '../support/create-app.js';
import { adapterOf, graphqlModule, query, SERVERS, subscribe, subscriber } from '../support/graphql.js';
import { freePort } from '../support/redis.js';
import { until } from '../support/requests.js';
import { connect, SOCKETS, useSockets } from '../support/websocket.js';

const BUDGET = { name: 'budget', capacity: 1000, refill: 0 } as const;
const LIMIT = { ...BUDGET, key: 'all', cost: 100 } as const;

@Resolver()
class Field {
  @RateLimit(LIMIT)
  @Query(() => Int)
  work(
    @Args('cost', { type: () => Int }) cost: number,
    @ReportCost() report: ReportCost,
    @RateLimitDecision() decision: Decision,
  ) {
    report(cost);
    return decision.limit;
  }

  @RateLimit(LIMIT)
  @Subscription(() => Int)
  async *values(@ReportCost() report: ReportCost) {
    for (const total of [90, 250, 300]) {
      report(total);
      yield { values: total };
    }
  }
}

@WebSocketGateway()
class Gateway {
  @RateLimit(LIMIT)
  @SubscribeMessage('work')
  async work(@MessageBody() cost: number, @ReportCost() report: ReportCost, @RateLimitDecision() decision: Decision) {
    await new Promise(setImmediate);
    report(cost);
    return { event: 'work', data: decision.limit };
  }
}

@Controller()
class Service {
  @RateLimit(LIMIT)
  @MessagePattern('work')
  work(@Payload() cost: number, @RateLimitDecision() decision: Decision, @ReportCost() report: ReportCost) {
    report(cost);
    return decision.limit;
  }
}

let app: INestApplication;
afterEach(() => app.close());
const available = () => app.get(BucketService).bucket(BUDGET, 'all').available();
const settled = (tokens: number) => until(async () => (await available()) === tokens);
const module = RateLimitModule.forRoot();

describe.each(SERVERS)('@ReportCost with %s', (server) => {
  it('reports the cost of each field of a query', async () => {
    app = await createApp(adapterOf(server), { imports: [module, graphqlModule(server)], providers: [Field] });
    await app.listen(0, '127.0.0.1');
    const { body } = await query(app, '{ a: work(cost: 30) b: work(cost: 200) c: work(cost: 7) }');
    expect(body.data).toEqual({ a: 1000, b: 1000, c: 1000 });
    await settled(1000 - 237);
  });

  it('charges at least what a subscription has reported', async () => {
    app = await createApp(adapterOf(server), { imports: [module, graphqlModule(server)], providers: [Field] });
    await app.listen(0, '127.0.0.1');
    const client = subscriber(app);
    expect(await subscribe(client, 'subscription { values }')).toHaveLength(3);
    await settled(700);
    await client.dispose();
  });
});

it.each(SOCKETS)('@ReportCost reports the cost of each of concurrent messages over %s', async (sockets) => {
  app = await createApp('express', { imports: [module], providers: [Gateway] }, (created) =>
    useSockets(created, sockets),
  );
  await app.listen(0, '127.0.0.1');
  const client = await connect(app, sockets);
  for (const cost of [30, 30, 200, 7]) client.send('work', cost);
  await until(() => client.received.length === 4);
  expect(client.received).toEqual(new Array(4).fill(['work', 1000]));
  await settled(1000 - 267);
  client.close();
});

it('@ReportCost reports the cost of each message of a microservice', async () => {
  const port = await freePort();
  app = await createApp('express', { imports: [module], controllers: [Service] });
  const options = { transport: Transport.TCP, options: { port, host: '127.0.0.1' } } as const;
  app.connectMicroservice(options, { inheritAppConfig: true });
  await app.startAllMicroservices();
  const client = ClientProxyFactory.create(options);
  const answers = [30, 30, 200].map((cost) => lastValueFrom(client.send<number, number>('work', cost)));
  expect(await Promise.all(answers)).toEqual([1000, 1000, 1000]);
  await settled(1000 - 260);
  await client.close();
});

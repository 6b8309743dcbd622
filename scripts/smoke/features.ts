// Features that need further packages: WebSocket gateways, microservices, OpenAPI, metrics.
import 'reflect-metadata';
import { deepStrictEqual, ok } from 'node:assert';
import { Controller, Get, Injectable, Module, Scope, UseGuards } from '@nestjs/common';
import { ModuleRef, NestFactory } from '@nestjs/core';
import { ClientProxyFactory, MessagePattern, type TcpClientOptions, Transport } from '@nestjs/microservices';
import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { RateLimit, RateLimitGuard, RateLimitModule, TimeUnit } from 'nest-rate-limit';
import { RateLimitMetricsModule } from 'nest-rate-limit/opentelemetry';
import { ApiRateLimit } from 'nest-rate-limit/swagger';
import { lastValueFrom } from 'rxjs';
import { io, type Socket } from 'socket.io-client';

const TWO = { maxRequest: 2, unit: TimeUnit.MINUTES } as const;

@WebSocketGateway()
class AppGateway {
  @RateLimit({ ...TWO, name: 'unbound' })
  @SubscribeMessage('unbound')
  unbound() {
    return 'Hello';
  }

  @UseGuards(RateLimitGuard)
  @RateLimit({ ...TWO, name: 'bound' })
  @SubscribeMessage('bound')
  bound() {
    return 'Hello';
  }
}

@Controller()
class AppController {
  @RateLimit(TWO)
  @MessagePattern('limited')
  message() {
    return 'Hello';
  }

  @RateLimit(TWO)
  @Get('limited')
  limited() {}

  @ApiRateLimit({ description: 'The printer is busy' })
  @Get('own')
  own() {}

  @Get('free')
  free() {}
}

class Jobs {
  @RateLimit({ ...TWO, onLimited: () => 'limited' })
  async run(): Promise<string> {
    return 'done';
  }
}

@Injectable({ scope: Scope.TRANSIENT })
class TransientJobs extends Jobs {}

@Injectable({ scope: Scope.REQUEST })
class JobsPerRequest extends Jobs {}

class MadeJobs extends Jobs {}

@Module({
  imports: [RateLimitModule.forRoot(), RateLimitMetricsModule],
  controllers: [AppController],
  providers: [
    AppGateway,
    Jobs,
    TransientJobs,
    JobsPerRequest,
    { provide: MadeJobs, scope: Scope.REQUEST, useFactory: async () => new MadeJobs() },
  ],
})
class AppModule {}

/** Sends three messages, and returns the replies or errors. */
async function three(send: () => Promise<unknown>): Promise<unknown[]> {
  const replies: unknown[] = [];
  for (let i = 0; i < 3; i++) replies.push(await send());
  return replies;
}

function checkThree([first, second, third]: unknown[]) {
  deepStrictEqual([first, second], ['Hello', 'Hello']);
  const { status, message, retryAfter } = third as Record<string, unknown>;
  deepStrictEqual([status, message], ['error', 'Too Many Requests']);
  ok(typeof retryAfter === 'number' && retryAfter > 0 && retryAfter <= 60_000);
}

/** Limited methods, on instances of all scopes. */
async function checkMethods(ref: ModuleRef) {
  const jobs = ref.get(Jobs, { strict: false });
  deepStrictEqual(await three(() => jobs.run()), ['done', 'done', 'limited']);
  for (const type of [TransientJobs, JobsPerRequest, MadeJobs]) {
    deepStrictEqual(await three(async () => (await ref.resolve(type, undefined, { strict: false })).run()), [
      'done',
      'done',
      'limited',
    ]);
  }
}

const emit = (socket: Socket, event: string) =>
  new Promise<unknown>((resolve) => {
    socket.once('exception', resolve);
    socket.emit(event, 'data', resolve);
  });

async function main(port: number) {
  const tcp: TcpClientOptions = { transport: Transport.TCP, options: { host: '127.0.0.1', port } };
  const app = await NestFactory.create(AppModule, { logger: ['error', 'warn'] });
  app.connectMicroservice(tcp, { inheritAppConfig: true });
  await app.startAllMicroservices();
  await app.listen(0, '127.0.0.1');

  const socket = io(await app.getUrl());
  checkThree(await three(() => emit(socket, 'bound')));
  checkThree(await three(() => emit(socket, 'unbound')));
  socket.close();

  const service = ClientProxyFactory.create(tcp);
  checkThree(await three(() => lastValueFrom(service.send('limited', {})).catch((error: unknown) => error)));
  await service.close();

  await checkMethods(app.get(ModuleRef, { strict: false }));

  const { paths } = SwaggerModule.createDocument(app, new DocumentBuilder().build());
  const rejection = (path: string) => paths[path].get?.responses?.['429'];
  ok(rejection('/limited') && !rejection('/free'), 'OpenAPI');
  deepStrictEqual((rejection('/own') as { description: string }).description, 'The printer is busy');
  await app.close();
}

main(Number(process.argv[2])).then(() => console.log('done'));

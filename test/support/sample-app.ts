import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { Test } from '@nestjs/testing';
import { RateLimitStore, RedisStore } from 'nest-rate-limit';
import type { FakeClock } from 'nest-rate-limit/testing';
import request, { type Response } from 'supertest';
import { AppModule } from '../../sample-app/app.module.js';
import type { Step } from '../../sample-app/example.js';
import { setUp } from '../../sample-app/setup.js';
import { redisUrl } from './redis.js';

/** Connects a Redis store with a key prefix of its own. */
export function redisStore(clock: FakeClock): Promise<RateLimitStore> {
  return RedisStore.connect(redisUrl(), { prefix: `sample-${randomUUID()}:`, clock });
}

/** The unmodified sample app with the given store. */
export class SampleApp {
  private nextNumber = 0;
  /** The numbers of the requests whose responses are closed on the server. Settlement starts only then. */
  private readonly closed = new Set<string>();

  private constructor(readonly app: NestExpressApplication) {
    app.use(({ headers }: IncomingMessage, response: ServerResponse, next: () => void) => {
      response.once('close', () => this.closed.add(String(headers['x-number'])));
      next();
    });
  }

  static async start(store: RateLimitStore): Promise<SampleApp> {
    const module = await Test.createTestingModule({ imports: [AppModule] })
      .overrideProvider(RateLimitStore)
      .useValue(store)
      .compile();
    const sample = new SampleApp(module.createNestApplication<NestExpressApplication>({ logger: false }));
    setUp(sample.app);
    await sample.app.listen(0, '127.0.0.1');
    return sample;
  }

  async send(
    { method, path, form, json, apiKey }: Omit<Step, 'answers'>,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    const number = String(this.nextNumber++);
    const body = json ?? form;
    const verb = method ?? (body === undefined ? 'GET' : 'POST');
    const pending = request(this.app.getHttpServer())[verb.toLowerCase() as 'get'](path);
    if (body !== undefined) pending.type(json === undefined ? 'form' : 'json').send(body);
    if (apiKey) pending.set('X-Api-Key', apiKey);
    const response = await pending.set({ ...headers, 'x-number': number });
    while (!this.closed.has(number)) await nextTurn();
    return response;
  }

  /** Sends the lines to the chat with the app's own client. Returns the lines that the client prints. */
  async chat(lines: readonly string[]): Promise<string[]> {
    const url = (await this.app.getUrl()).replace('http:', 'ws:');
    const client = spawn(process.execPath, ['sample-app/chat/client.mjs', `${url}/chat`]);
    client.stdin.end(lines.map((line) => `${line}\n`).join(''));
    const [output, errors] = await Promise.all([text(client.stdout), text(client.stderr)]);
    if (errors) throw new Error(errors);
    return output.trimEnd().split('\n');
  }

  async close(): Promise<void> {
    await this.app.close();
  }
}

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
import { setUp } from '../../sample-app/setup.js';
import type { Step } from '../../sample-app/trial.js';
import { redisUrl } from './redis.js';

/** A store in Redis, apart from those of all other tests. */
export function redisStore(clock: FakeClock): Promise<RateLimitStore> {
  return RedisStore.connect(redisUrl(), { prefix: `sample-${randomUUID()}:`, clock });
}

/** The sample app as it is, with buckets in `store`. */
export class SampleApp {
  private sent = 0;
  /** Requests that are over for the server, too: only then it is told what they cost in the end. */
  private readonly over = new Set<string>();

  private constructor(readonly app: NestExpressApplication) {
    app.use(({ headers }: IncomingMessage, response: ServerResponse, next: () => void) => {
      response.once('close', () => this.over.add(String(headers['x-number'])));
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
    const number = String(this.sent++);
    const body = json ?? form;
    const verb = method ?? (body === undefined ? 'GET' : 'POST');
    const sending = request(this.app.getHttpServer())[verb.toLowerCase() as 'get'](path);
    if (body !== undefined) sending.type(json === undefined ? 'form' : 'json').send(body);
    if (apiKey) sending.set('X-Api-Key', apiKey);
    const response = await sending.set({ ...headers, 'x-number': number });
    while (!this.over.has(number)) await nextTurn();
    return response;
  }

  /** Says each line in the chat with the client that the app comes with; what it shows. */
  async chat(lines: readonly string[]): Promise<string[]> {
    const url = (await this.app.getUrl()).replace('http:', 'ws:');
    const client = spawn(process.execPath, ['sample-app/chat/client.mjs', `${url}/chat`]);
    client.stdin.end(lines.map((line) => `${line}\n`).join(''));
    const [shown, errors] = await Promise.all([text(client.stdout), text(client.stderr)]);
    if (errors) throw new Error(errors);
    return shown.trimEnd().split('\n');
  }

  async close(): Promise<void> {
    await this.app.close();
  }
}

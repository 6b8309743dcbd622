import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Controller, type ExecutionContext, type INestMicroservice, Logger } from '@nestjs/common';
import { BaseRpcContext, type CustomTransportStrategy, MessagePattern, Server } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { MemoryStore, RateLimit, RateLimitModule } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { lastValueFrom } from 'rxjs';
import { declaredIn } from '../support/pages.js';

const byMcpClient = await declaredIn<(context: ExecutionContext) => string>(
  'docs/guides/microservices.md',
  'byMcpClient',
);
const ONE = { maxRequest: 1, unit: 'minute' } as const;

interface HttpRequest {
  readonly ip: string;
}

/** The context of a strategy on HTTP: it leads to the request, but to no socket. */
class ToolContext extends BaseRpcContext<[HttpRequest | undefined]> {
  getRawRequest(): HttpRequest | undefined {
    return this.args[0];
  }
}

/** A strategy that calls tools, as those of MCP do. */
class ToolStrategy extends Server implements CustomTransportStrategy {
  listen(callback: () => void): void {
    callback();
  }

  async call(tool: string, request?: HttpRequest): Promise<unknown> {
    const handler = this.getHandlerByPattern(tool);
    const result = this.transformToObservable(await handler?.({}, new ToolContext([request])));
    return lastValueFrom(result).catch((error: unknown) => ({ error }));
  }

  close(): void {}

  on(): void {}

  unwrap<T>(): T {
    return this as unknown as T;
  }
}

@Controller()
class Tools {
  @RateLimit({ ...ONE, key: byMcpClient })
  @MessagePattern('keyed')
  keyed() {
    return 'done';
  }

  @RateLimit(ONE)
  @MessagePattern('keyless')
  keyless() {
    return 'done';
  }
}

let app: INestMicroservice;
let strategy: ToolStrategy;
beforeEach(async () => {
  strategy = new ToolStrategy();
  const built = await Test.createTestingModule({
    imports: [RateLimitModule.forRoot({ store: new MemoryStore({ clock: new FakeClock() }) })],
    controllers: [Tools],
  }).compile();
  app = built.createNestMicroservice({ strategy, logger: false });
  await app.listen();
});
afterEach(() => app.close());

describe('A strategy of the application', () => {
  it('limits each client by the key of its context', async () => {
    const rejection = { error: { status: 'error', message: 'Too Many Requests', retryAfter: 60_000 } };
    const results = [];
    for (const ip of ['203.0.113.7', '203.0.113.7', '203.0.113.8']) results.push(await strategy.call('keyed', { ip }));
    expect(results).toEqual(['done', rejection, 'done']);
    expect([await strategy.call('keyed'), await strategy.call('keyed')]).toEqual(['done', rejection]);
  });

  it('warns once that the default key does not apply, and how to set one', async () => {
    const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
    for (let i = 0; i < 3; i++) expect(await strategy.call('keyless', { ip: '203.0.113.7' })).toBe('done');
    const fix = 'set its `key` to a function that identifies their sender';
    expect(warn.mock.calls).toEqual([
      [`Policy Tools.keyless does not apply to requests without a client address: ${fix}`],
    ]);
    warn.mockRestore();
  });
});

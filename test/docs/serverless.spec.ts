import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Controller, Get, type INestApplication, Logger } from '@nestjs/common';
import { type DecisionMessage, type KeyOf, RateLimit, RateLimitModule } from 'nest-rate-limit';
import serverless from 'serverless-http';
import request from 'supertest';
import { ADAPTERS, createApp } from '../support/create-app.js';
import { modulesOf, run } from '../support/pages.js';

/*
 * docs/guides/serverless.md has keys for platforms whose requests have no address. They are tested with an adapter for AWS
 * Lambda.
 */

@Controller()
class Resource {
  @RateLimit({ maxRequest: 1, unit: 'hour' })
  @Get('limited')
  limited() {
    return 'done';
  }
}

type Headers = Record<string, string>;

/** The event of an Application Load Balancer. */
const fromLoadBalancer = (headers: Headers) => ({
  requestContext: { elb: { targetGroupArn: 'arn' } },
  httpMethod: 'GET',
  path: '/limited',
  queryStringParameters: {},
  headers: { host: 'x', ...headers },
  body: '',
  isBase64Encoded: false,
});

/** The event of an API Gateway. */
const fromGateway = (sourceIp: string, forwarded = `6.6.6.6, ${sourceIp}`) => ({
  version: '2.0',
  routeKey: '$default',
  rawPath: '/limited',
  rawQueryString: '',
  headers: { host: 'x', 'x-forwarded-for': forwarded },
  requestContext: { http: { method: 'GET', path: '/limited', sourceIp, protocol: 'HTTP/1.1' }, stage: '$default' },
  isBase64Encoded: false,
});

/** Handles an event as AWS Lambda does; resolves with the status. */
async function invoke(app: INestApplication, event: object): Promise<number> {
  const instance = app.getHttpAdapter().getInstance();
  // Fastify by its listener: `inject` cannot be loaded by Jest on Node 20.
  const handler = serverless(instance.routing ?? instance);
  const { statusCode } = (await handler(event as never, {} as never)) as { statusCode: number };
  return statusCode;
}

/** A function that a snippet of the page exports. */
async function exported<T>(name: string): Promise<T> {
  for (const module of modulesOf('docs/guides/serverless.md')) {
    const exports = await run(module);
    if (name in exports) return exports[name] as T;
  }
  throw new Error(`docs/guides/serverless.md exports no ${name}`);
}

const keys: unknown[] = [];
const errors: string[] = [];
const warnings: string[] = [];
const listen = (message: unknown) => void keys.push((message as DecisionMessage).key);
let app: INestApplication;

describe.each(ADAPTERS)('Platforms in docs/guides/serverless.md, on %s', (adapter) => {
  beforeEach(() => {
    keys.length = errors.length = warnings.length = 0;
    subscribe('nest-rate-limit:decision', listen);
    jest.spyOn(Logger.prototype, 'error').mockImplementation((error) => void errors.push(String(error)));
    jest.spyOn(Logger.prototype, 'warn').mockImplementation((warning) => void warnings.push(String(warning)));
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    unsubscribe('nest-rate-limit:decision', listen);
    await app.close();
  });
  const start = async (key?: KeyOf, trust?: unknown) => {
    const imports = [RateLimitModule.forRoot(key ? { key } : {})];
    app = await createApp(adapter, { imports, controllers: [Resource] }, undefined, trust);
  };
  const fromClients = async (eventOf: (address: string) => object) => {
    const statuses: number[] = [];
    for (const address of ['203.0.113.7', '203.0.113.8', '203.0.113.8']) {
      statuses.push(await invoke(app, eventOf(address)));
    }
    return statuses;
  };

  it('need no key behind an API Gateway', async () => {
    await start();
    expect(await fromClients((address) => fromGateway(address))).toEqual([200, 200, 429]);
    expect(keys).toEqual(['203.0.113.7', '203.0.113.8', '203.0.113.8']);
    expect(warnings).toEqual([]);
  });

  it('need the key of the last entry behind a load balancer', async () => {
    await start(await exported<KeyOf>('lastForwarded'));
    expect(await fromClients((address) => fromLoadBalancer({ 'x-forwarded-for': `6.6.6.6, ${address}` }))).toEqual([
      200, 200, 429,
    ]);
    expect(keys).toEqual(['203.0.113.7', '203.0.113.8', '203.0.113.8']);
    expect(await invoke(app, fromLoadBalancer({}))).toBe(500);
    expect(errors[0]).toMatch(/The key of policy Resource\.limited must be a non-empty string, got undefined/);
  });

  it('are warned of if requests are injected with the address of a proxy', async () => {
    await start();
    expect(await fromClients((address) => fromGateway('127.0.0.1', address))).toEqual([200, 429, 429]);
    expect(warnings).toEqual([expect.stringMatching(/^Untrusted proxy/)]);
  });

  it('fail without that key', async () => {
    await start();
    expect(await fromClients((address) => fromLoadBalancer({ 'x-forwarded-for': address }))).toEqual([500, 500, 500]);
    expect(errors[0]).toMatch(/No client address for Resource\.limited: .*Set `key` to an address/);
  });

  it('may use the key of a header that only the platform sets', async () => {
    const addressFrom = await exported<(header: string) => KeyOf>('addressFrom');
    await start(addressFrom('cf-connecting-ip'));
    const get = async (address: string) =>
      (await request(app.getHttpServer()).get('/limited').set('cf-connecting-ip', address)).status;
    expect([await get('203.0.113.7:4711'), await get('203.0.113.7'), await get('2001:db8::1')]).toEqual([
      200, 429, 200,
    ]);
  });
});

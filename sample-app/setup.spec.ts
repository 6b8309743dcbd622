import { afterEach, describe, expect, it } from '@jest/globals';
import type { OpenAPIObject } from '@nestjs/swagger';
import { Validator } from '@seriousme/openapi-schema-validator';
import { MemoryStore } from 'nest-rate-limit';
import { SampleApp } from '../test/support/sample-app.js';

const { TRUST_PROXY } = process.env;
let app: SampleApp;
afterEach(async () => {
  if (TRUST_PROXY === undefined) delete process.env.TRUST_PROXY;
  else process.env.TRUST_PROXY = TRUST_PROXY;
  await app.close();
});

describe('/openapi.json', () => {
  it('is valid, and documents each 429 response with its headers', async () => {
    app = await SampleApp.start(new MemoryStore());
    const { body } = await app.send({ path: '/openapi.json' });
    const { valid, errors } = await new Validator().validate(structuredClone(body));
    expect({ valid, errors }).toEqual({ valid: true, errors: undefined });
    const { paths } = body as OpenAPIObject;
    const limited: string[] = [];
    for (const [path, item] of Object.entries(paths)) {
      for (const [method, operation] of Object.entries(item as Record<string, { responses: Record<string, object> }>)) {
        const rejection = operation.responses[429];
        if (!rejection) continue;
        limited.push(`${method} ${path}`);
        // The service rejects mails itself, so only the status is known.
        if (path !== '/mail') {
          expect(rejection).toHaveProperty('headers.Retry-After.schema', { type: 'integer', minimum: 1 });
        }
        expect(rejection).toHaveProperty('content.application/json.schema.properties.statusCode.example', 429);
      }
    }
    expect(limited.sort()).toEqual([
      'delete /documents/{id}',
      'get /api/ping',
      'get /documents/{id}',
      'get /exports',
      'get /limited',
      'get /queue',
      'get /quotes',
      'get /reports',
      'post /api/upload',
      'post /login',
      'post /mail',
      'post /sms',
      'put /documents/{id}',
    ]);
    expect(Object.keys(paths)).toEqual(expect.arrayContaining(['/free', '/outbox', '/health']));
    expect(Object.keys(paths)).not.toContain('/events');
  });
});

describe('behind a proxy', () => {
  const limited = async (forwarded: string) =>
    (await app.send({ path: '/limited' }, { 'X-Forwarded-For': forwarded })).status;

  it('identifies clients by the address that the proxy reports, not by the one they claim', async () => {
    process.env.TRUST_PROXY = 'loopback';
    app = await SampleApp.start(new MemoryStore());
    for (const status of [200, 200, 429]) expect(await limited('203.0.113.7')).toBe(status);
    expect(await limited('203.0.113.8')).toBe(200);
    expect(await limited('198.51.100.1, 203.0.113.7')).toBe(429);
  });

  it('ignores X-Forwarded-For without a trusted proxy', async () => {
    delete process.env.TRUST_PROXY;
    app = await SampleApp.start(new MemoryStore());
    for (const [i, status] of [200, 200, 429].entries()) expect(await limited(`203.0.113.${i}`)).toBe(status);
  });
});

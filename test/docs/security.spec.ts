import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { Controller, Get, type INestApplication, Logger, type Type } from '@nestjs/common';
import { type DecisionMessage, RateLimit, RateLimitModule } from 'nest-rate-limit';
import request from 'supertest';
import { ADAPTERS, type AdapterName, createApp } from '../support/create-app.js';
import { failing, run, snippetIn, startApp } from '../support/pages.js';

/*
 * Two pages have tables of the address each proxy setting yields, and of the limit each attack reaches. These tests
 * check both.
 */

const PROXIES = 'docs/guides/keys-and-proxies.md';
const LOGIN = 'docs/guides/login-protection.md';

/** Returns the cells of the table of a page whose first column has this heading. */
function rowsOf(page: string, heading: string): string[][] {
  const lines = readFileSync(page, 'utf8').split('\n');
  const start = lines.findIndex((line) => line.startsWith(`| ${heading} `));
  const end = lines.findIndex((line, i) => i > start && !line.startsWith('|'));
  return lines.slice(start + 2, end).map((line) => line.split('|').map((cell) => cell.trim()));
}

let app: INestApplication | undefined;
let last: DecisionMessage;
const listen = (message: unknown) => {
  last = message as DecisionMessage;
};
beforeEach(() => subscribe('nest-rate-limit:decision', listen));
afterEach(async () => {
  unsubscribe('nest-rate-limit:decision', listen);
  await app?.close();
});

describe(`Table of proxy settings in ${PROXIES}`, () => {
  const NETWORKS = 'loopback, 10.0.0.0/8';
  const OUTER = '10.0.0.9';
  const settings: Record<string, { trust?: unknown; only?: AdapterName; before?: string }> = {
    none: {},
    'the addresses of your proxies': { trust: NETWORKS },
    'Express: as many as there are proxies, `1`': { trust: 1, only: 'express' },
    'Express: one too many, `2`': { trust: 2, only: 'express' },
    'Express: one too few': { trust: 1, only: 'express', before: OUTER },
    '`true`': { trust: true },
    'Fastify: a number': { trust: 1, only: 'fastify' },
  };
  const addresses: Record<string, string> = { 'the proxy’s': '127.0.0.1', 'the outer proxy’s': OUTER };

  @Controller()
  class Resource {
    @RateLimit({ maxRequest: 1000 })
    @Get()
    get() {}
  }

  it('lists every setting', () => {
    expect(rowsOf(PROXIES, 'Setting').map(([, setting]) => setting)).toEqual(Object.keys(settings));
  });

  const rows = rowsOf(PROXIES, 'Setting').flatMap(([, setting, honest, forged]) => {
    const { only } = settings[setting] ?? {};
    return (only ? [only] : ADAPTERS).map((adapter) => ({ setting, adapter, honest, forged }));
  });
  it.each(rows)(
    'documents the client address for $setting on $adapter',
    async ({ setting, adapter, honest, forged }) => {
      const { trust, before } = settings[setting];
      app = await createApp(
        adapter,
        { imports: [RateLimitModule.forRoot()], controllers: [Resource] },
        undefined,
        trust,
      );
      const keyOf = async (header: string) => {
        const forwarded = before ? `${header}, ${before}` : header;
        await request(app?.getHttpServer()).get('/').set('X-Forwarded-For', forwarded);
        return last.key;
      };
      const documented = (cell: string) => addresses[cell.replace("'", '’')] ?? cell;
      expect(await keyOf('203.0.113.7')).toBe(documented(honest));
      expect(await keyOf('6.6.6.6, 203.0.113.7')).toBe(documented(forged));
    },
  );
});

describe(`Unix socket example in ${PROXIES}`, () => {
  // The settings given on the page.
  const TRUST = { express: 1, fastify: (_address: unknown, hop: number) => hop === 0 };

  @Controller()
  class Resource {
    @RateLimit({ maxRequest: 1000 })
    @Get()
    get() {}
  }

  it.each(ADAPTERS)(
    'finds the client address behind a proxy on a Unix socket only if the first hop is trusted: %s',
    async (adapter) => {
      const folder = await mkdtemp(join(tmpdir(), 'rate-limit-'));
      const socketPath = join(folder, 'socket');
      const statusOf = async (trust?: unknown) => {
        app = await createApp(
          adapter,
          { imports: [RateLimitModule.forRoot()], controllers: [Resource] },
          undefined,
          trust,
        );
        await app.listen(socketPath);
        const headers = { 'X-Forwarded-For': '6.6.6.6, 203.0.113.7' };
        const [response] = (await once(get({ socketPath, headers, agent: false }), 'response')) as [IncomingMessage];
        response.resume();
        await app.close();
        return response.statusCode;
      };
      expect(await statusOf()).toBe(500);
      expect(await statusOf(TRUST[adapter])).toBe(200);
      expect(last.key).toBe('203.0.113.7');
      await rm(folder, { recursive: true });
    },
  );
});

describe(`Login example in ${LOGIN}`, () => {
  /** The address and account of the n-th attempt, and the number of attempts before the first rejection. */
  const attacks: Record<string, { from: (n: number) => number; account: (n: number) => string; admitted: number }> = {
    'one address tries passwords of one account': { from: () => 1, account: () => 'ada', admitted: 5 },
    'many addresses try one account': { from: (n) => n, account: () => 'Ada ', admitted: 100 },
    'one address tries one password with many accounts': { from: () => 1, account: (n) => `user${n}`, admitted: 200 },
    'many addresses, one try each, with lists of passwords': {
      from: (n) => n,
      account: (n) => `user${n}`,
      admitted: Infinity,
    },
  };

  const start = async () => {
    const module = snippetIn(LOGIN, 'Several attackers, several accounts');
    const { LoginController } = (await run(module)) as { LoginController: Type<{ login(): void }> };
    LoginController.prototype.login = failing(LoginController.prototype.login);
    ({ app } = await startApp({ LoginController }));
    app?.getHttpAdapter().getInstance().set('trust proxy', 'loopback');
  };

  it.each([undefined, 7, '', ' \u2003'])('rejects a request without an account, and logs nothing: %j', async (user) => {
    await start();
    const logged = jest.spyOn(Logger.prototype, 'error').mockImplementation(() => {});
    const { status, body } = await request(app?.getHttpServer()).post('/login').send({ user });
    expect([status, body.message]).toEqual([400, 'user must name an account']);
    expect(logged).not.toHaveBeenCalled();
    logged.mockRestore();
  });

  it.each(rowsOf(LOGIN, 'Attack').map(([, attack, limitedBy]) => ({ attack, limitedBy })))(
    '$attack: limited by $limitedBy',
    async ({ attack, limitedBy }) => {
      await start();
      const { from, account, admitted } = attacks[attack];
      const attempt = async (n: number) => {
        const address = `198.51.${from(n) >> 8}.${from(n) & 255}`;
        const sent = request(app?.getHttpServer()).post('/login').set('X-Forwarded-For', address);
        return (await sent.send({ user: account(n) })).status;
      };
      for (let n = 0; n < Math.min(admitted, 300); n++) expect(await attempt(n)).toBe(401);
      if (admitted === Infinity) {
        expect(limitedBy).toBe('none of them');
      } else {
        expect(await attempt(admitted)).toBe(429);
        expect(`\`${last.policy}\``).toBe(limitedBy);
      }
    },
  );
});

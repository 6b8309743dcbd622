import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { Redis, type RedisOptions } from 'ioredis';
import { RedisStore } from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';
import { parsePolicy } from '../../../src/core/policy.js';
import { closeBuckets, openBuckets } from '../../support/buckets.js';
import { freePort, type RedisServer, startRedis } from '../../support/redis.js';
import { exercise } from '../../support/redis-clients.js';
import { until } from '../../support/requests.js';

const POOL = { name: 'pool', capacity: 10, refill: 0 };
const SMALL = { name: 'small', duration: 10, maxRequest: 2 };
const failure = { mode: 'closed', timeout: '5s' } as const;

closeBuckets();
let server: RedisServer;
let admin: Redis;
const clients: Redis[] = [];
beforeAll(async () => {
  server = await startRedis();
  admin = new Redis(server.url);
});
afterEach(async () => {
  jest.restoreAllMocks();
  for (const client of clients.splice(0)) client.disconnect();
  await admin.flushall();
});
afterAll(async () => {
  admin.disconnect();
  await server.kill();
});

function client(url: string, options: RedisOptions = {}): Redis {
  const opened = new Redis(url, options);
  opened.on('error', () => {});
  clients.push(opened);
  return opened;
}

describe('RedisStore connection', () => {
  it('accepts a URL, ioredis options or a client', async () => {
    await exercise({ redis: server.url });
    await admin.flushall();
    await exercise({ redis: { host: '127.0.0.1', port: server.port, db: 3 } });
    expect(await admin.dbsize()).toBe(0);
    await admin.flushall();
    await exercise({ redis: client(server.url) });
  });

  it.each<RedisOptions>([
    { stringNumbers: true },
    { keyPrefix: 'app:' },
    { enableAutoPipelining: true },
    { lazyConnect: true },
    { protocol: 2 } as RedisOptions,
    { replyMapping: 'resp3' } as RedisOptions,
  ])('works with the client option %j', async (options) => {
    await exercise({ redis: client(server.url, options) });
    // That of the request that has waited is full soon.
    const keys = (await admin.keys('*')).filter((key) => !key.includes(':slow:'));
    expect(keys).toHaveLength(2);
    for (const key of keys) expect(key.startsWith(options.keyPrefix ? 'app:rl:{' : 'rl:{')).toBe(true);
  });

  it('detects missed deadlines with `stringNumbers`', async () => {
    const store = new RedisStore({ client: client(server.url, { stringNumbers: true }), timeout: 50 });
    const takes = [{ policy: parsePolicy(POOL, 'pool'), key: 'key', amount: 1000, maxWait: 0 }];
    server.pause();
    const late = store.run({ verb: 'take', takes });
    await sleep(100);
    server.resume();
    await expect(late).rejects.toThrow('Command reached Redis after its 50 ms deadline');
    expect(await store.run({ verb: 'estimate', takes: [{ ...takes[0], amount: 0 }] })).toMatchObject({ balance: 10 });
    store.close();
  });

  it('does not send plain keys to Redis with `hashKeys`', async () => {
    const commands: string[] = [];
    const monitor = await admin.monitor();
    monitor.on('monitor', (_time: string, args: string[]) => commands.push(args.join(' ')));
    const { buckets } = await openBuckets({ store: { redis: server.url, hashKeys: true }, failure });
    const bucket = buckets.bucket(POOL, 'ada@example.org');
    await bucket.decide();
    await bucket.put();
    await bucket.watch();
    await until(() => commands.join('\n').includes('rl:{%'));
    await admin.ping('last');
    await until(() => commands.includes('ping last'));
    monitor.disconnect();
    expect(commands.join('\n')).not.toContain('ada@example.org');
  });

  it('sets a TTL on buckets that refill, and none on pools', async () => {
    const { buckets } = await openBuckets({ store: { redis: server.url }, failure });
    await buckets.bucket({ name: 'refilled', capacity: 10, refill: 1 }, 'key').decide(4);
    await buckets.bucket(POOL, 'key').decide(4);
    const ttls = await Promise.all((await admin.keys('*')).sort().map((key) => admin.pttl(key)));
    expect(ttls[0]).toBe(-1);
    expect(ttls[1]).toBeGreaterThan(3900);
    expect(ttls[1]).toBeLessThanOrEqual(4000);
  });
});

describe('Redis ACL rule in the documentation', () => {
  const page = readFileSync(new URL('../../../docs/guides/redis.md', import.meta.url), 'utf8');
  const rule = page.match(/^ACL SETUSER (.*)$/m)?.[1].split(' ') ?? [];

  it('grants every permission that the store needs', async () => {
    const warn = jest.spyOn(console, 'warn').mockImplementation(() => {});
    await admin.acl('SETUSER', ...(rule as [string, ...string[]]));
    const url = `redis://limiter:password@127.0.0.1:${server.port}`;
    await exercise({ redis: url });
    await admin.script('FLUSH');
    await exercise({ redis: url });
    await exercise({ redis: client(url) });
    expect(warn).not.toHaveBeenCalled();
    // ioredis tries CLIENT SETINFO on newer servers, and works without it.
    const denied = ((await admin.acl('LOG')) as unknown[]).map((entry) => JSON.stringify(entry));
    expect(denied.filter((entry) => !entry.includes('setinfo'))).toEqual([]);
  });

  it.each(rule.filter((token) => token.startsWith('+')))('needs %s', async (missing) => {
    const warn = jest.spyOn(console, 'warn').mockImplementation(() => {});
    await admin.acl('SETUSER', ...(rule.filter((token) => token !== missing) as [string, ...string[]]));
    await admin.acl('LOG', 'RESET');
    await admin.script('FLUSH');
    const url = `redis://limiter:password@127.0.0.1:${server.port}`;
    await exercise({ redis: url }).catch(() => {});
    const isDenied = async () => JSON.stringify(await admin.acl('LOG')).includes(missing.slice(1));
    await until(async () => warn.mock.calls.length > 0 || (await isDenied()));
    await admin.acl('SETUSER', ...(rule as [string, ...string[]]));
  });
});

describe('RedisStore over TLS', () => {
  const dir = mkdtempSync(join(tmpdir(), 'nest-rate-limit-tls-'));
  const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')];
  let secure: RedisServer;
  let port: number;

  beforeAll(async () => {
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    const paths = ['-keyout', key, '-out', cert];
    execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', ...paths, ...subject], {
      stdio: 'ignore',
    });
    port = await freePort();
    const files = ['--tls-cert-file', cert, '--tls-key-file', key, '--tls-ca-cert-file', cert];
    secure = await startRedis({ args: ['--tls-port', `${port}`, '--tls-auth-clients', 'no', ...files] });
  });
  afterAll(async () => {
    await secure?.kill();
    rmSync(dir, { recursive: true, force: true });
  });

  it('connects if the certificate is trusted', async () => {
    const ca = readFileSync(cert);
    await exercise({ redis: { host: 'localhost', port, tls: { ca } } });
  });

  it('applies the failure mode if the certificate is not trusted', async () => {
    const { buckets, store } = await openBuckets({ store: { redis: `rediss://localhost:${port}` } });
    expect((await buckets.bucket(POOL, 'key').decide()).source).toBe('fallback');
    expect(store.health().status).toBe('down');
  });

  // Node then emits two errors of one socket: the certificate is not trusted, and the server received half a handshake.
  it('survives that it closes during a handshake that fails', async () => {
    let ended: Promise<unknown> | undefined;
    const relay = createServer({ allowHalfOpen: true }, (own) => {
      const target = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      const replies: Buffer[] = [];
      own.on('error', () => {}).pipe(target);
      target.on('data', (reply) => replies.push(reply)).on('end', () => own.end(Buffer.concat(replies)));
      ended = once(own, 'close');
    });
    relay.listen(0, '127.0.0.1');
    await once(relay, 'listening');
    const redis = { host: '127.0.0.1', port: (relay.address() as AddressInfo).port, tls: {}, connectTimeout: 10_000 };
    const { module } = await openBuckets({ store: { redis } });
    expect(ended).toBeDefined();
    await module.close();
    await ended;
    relay.close();
  });

  it('authenticates with the user and password of a rediss:// URL', async () => {
    const plain = client(secure.url);
    await plain.acl('SETUSER', 'limiter', 'on', '>password', '~rl:*', '&rl:*', '+@all');
    const url = `rediss://limiter:password@localhost:${port}`;
    await exercise({ redis: client(url, { tls: { ca: readFileSync(cert) } }) });
    expect(await plain.client('LIST')).toContain('user=limiter');
  });
});

describe('RedisStore with an injected clock', () => {
  it('supports deadlines', async () => {
    const store = new RedisStore({ client: client(server.url), clock: new FakeClock(1000), timeout: 50 });
    const takes = [{ policy: parsePolicy(SMALL, 'small'), key: 'key', amount: 1000, maxWait: 0 }];
    const answers = [];
    for (let i = 0; i < 3; i++) answers.push((await store.run({ verb: 'take', takes })).allowed);
    expect(answers).toEqual([true, true, false]);
    store.close();
  });
});

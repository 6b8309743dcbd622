// Requests per second of a Nest application with a guard, relative to the same application without one.
import { fileURLToPath } from 'node:url';
import { median, ratio, spread, start } from './lib/measure.mjs';
import { startRedis } from './lib/redis.mjs';
import { chart, percent, publish, significant, table, verdicts } from './lib/report.mjs';

const APP = fileURLToPath(new URL('http-app.mjs', import.meta.url));
const LOAD = fileURLToPath(new URL('http-load.mjs', import.meta.url));
const LAUNCHES = 3;
const WARM = 1;
const ROUNDS = 4;
const SECONDS = 0.4;
const OURS = 'nest-rate-limit';
const REDIS = `${OURS}, Redis`;
const NOTHING = 'a guard that does nothing';
const HEADERS = 'two headers and no limit';
const GET = 'two headers and a GET from Redis';
const everywhere = ['none', NOTHING, OURS, '@nestjs/throttler', REDIS, '@nestjs/throttler, Redis'];
const guards = {
  Fastify: [...everywhere, HEADERS, GET, `${OURS}, no headers`, '@fastify/rate-limit'],
  Express: [...everywhere, 'hitlimit', 'express-rate-limit'],
};

/**
 * Launches all applications, beginning with `first`. Processes of one program differ in speed for their lifetime, and
 * later ones are slower, so several launches are measured, each in another order.
 */
async function launch(platform, first, env, rounds) {
  const names = guards[platform];
  const apps = [];
  const client = await start(LOAD, []);
  const load = ({ ready: { port } }, seconds) => client.ask({ port, seconds });
  try {
    for (let i = 0; i < names.length; i++) {
      const turn = (i + first) % names.length;
      apps[turn] = await start(APP, [platform.toLowerCase(), names[turn]], { env });
      await load(apps[turn], WARM);
    }
    for (let round = 0; round < ROUNDS; round++) {
      for (let i = 0; i < names.length; i++) {
        const turn = (i + round) % names.length;
        const app = apps[turn];
        const before = await app.ask({});
        const { requests, seconds, errors } = await load(app, SECONDS);
        const after = await app.ask({});
        if (errors > 0) throw new Error(`${platform}, ${names[turn]}: ${errors} requests failed`);
        const cpu = after.user + after.system - before.user - before.system;
        rounds[turn].push({ ns: (seconds * 1e9) / requests, cpu: cpu / requests, busy: cpu / seconds / 1e6 });
      }
    }
  } finally {
    await Promise.all([client, ...apps].map((one) => one?.stop()));
  }
}

async function onPlatform(platform, env) {
  const names = guards[platform];
  const rounds = names.map(() => []);
  for (let i = 0; i < LAUNCHES; i++) await launch(platform, Math.floor((i * names.length) / LAUNCHES), env, rounds);
  return Object.fromEntries(
    names.map((name, i) => {
      const samples = rounds[i].map(({ ns }) => ns);
      const of = (what) => median(rounds[i].map((round) => round[what]));
      return [name, { ...spread(samples), samples, cpu: of('cpu'), busy: of('busy') }];
    }),
  );
}

export async function run() {
  const redis = await startRedis();
  const results = {};
  try {
    for (const platform of Object.keys(guards)) {
      results[platform] = await onPlatform(platform, { BENCH_REDIS_URL: redis.url });
    }
  } finally {
    await redis.stop();
  }
  const part = (platform, name) => ratio(results[platform].none, results[platform][name]);
  const parts = Object.entries(results).map(([platform, all]) => {
    const rows = Object.entries(all).map(([name, { median, low, high, cpu, busy }]) => [
      name,
      significant(1e9 / median),
      `${significant(1e9 / high)} – ${significant(1e9 / low)}`,
      percent(part(platform, name)),
      `${significant(cpu)} µs`,
      percent(all.none.cpu / cpu),
      percent(busy),
    ]);
    const head = [
      '',
      'requests/s',
      'middle half',
      'of unguarded',
      'CPU per request',
      'unguarded CPU of it',
      'CPU busy',
    ];
    const bars = chart(
      Object.keys(all).map((name) => [name, part(platform, name)]),
      (value) => `${percent(value)} of unguarded`,
    );
    return `### ${platform}\n\n${table(head, rows)}\n\n${bars}`;
  });
  const memory = part('Fastify', OURS);
  const far = part('Fastify', REDIS);
  const ofHeaders = ratio(results.Fastify[HEADERS], results.Fastify[OURS]);
  const ofGet = ratio(results.Fastify[GET], results.Fastify[REDIS]);
  publish(
    'http',
    `## Requests over HTTP

Nest 12, \`Hello World\`, 64 connections from 1,000 clients that are identified by a header, with a limit of 1,000 in 10 seconds each, ${LAUNCHES} launches of all, ${ROUNDS} rounds of ${SECONDS} seconds in turn for each; autocannon and each application have their own process. The rounds are many and short, because the speed of a shared machine varies by a factor of two, and two processes of one program differ by a tenth. The guard is that of the library's own module; @fastify/rate-limit and express-rate-limit are bound as plugin and middleware. CPU is that of the application's process. A guard that does nothing shows the cost of a guard in Nest. One that only writes the two headers, and one that also waits for a \`GET\` from Redis (ioredis pipelines those of one turn), show the least that a limiter can cost.

${parts.join('\n\n')}

A guard that does nothing leaves ${percent(part('Fastify', NOTHING))} of Fastify's requests. Two constant headers leave ${percent(part('Fastify', HEADERS))}: Fastify stores them, Node validates and joins them, and about 80 more bytes are sent and read, on the same two cores. Of the ${percent(1 - memory)} that this library costs in memory, ${percent(1 - part('Fastify', HEADERS))} are therefore not the limiter's. It has ${percent(ofHeaders)} of the requests of the guard that writes headers, and without headers ${percent(ratio(results.Fastify[NOTHING], results.Fastify[`${OURS}, no headers`]))} of those of the guard that does nothing. The headers and one \`GET\` leave ${percent(part('Fastify', GET))}; this library with Redis has ${percent(ofGet)} of that.

### Aims

${verdicts([
  ['Fastify, in memory: requests per second of unguarded', '≥ 95 %', percent(memory), memory >= 0.95],
  ['Fastify, Redis: requests per second of unguarded', '≥ 80 %', percent(far), far >= 0.8],
  [`Fastify, in memory: requests per second of ${HEADERS}`, '≥ 96 %', percent(ofHeaders), ofHeaders >= 0.96],
  [`Fastify, Redis: requests per second of ${GET}`, '≥ 97 %', percent(ofGet), ofGet >= 0.97],
])}`,
  );
}

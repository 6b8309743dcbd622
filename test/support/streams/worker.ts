import 'reflect-metadata';
import { get, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Controller, Get, Query, StreamableFile } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { BucketService, MemoryStore, RateLimit, RateLimitModule, ReportCost } from '../../../src/index.js';
import { Random } from '../random.js';
import { BUDGET, CONCURRENT, ESTIMATE, type Journal, type Stream } from './budget.js';

/*
 * One of the processes that stream on a shared budget: `node worker.mjs <redis url or memory> <prefix> <seed> <adapter>`.
 * Its streams complete, fail or lose their client at random, until the budget is exhausted.
 */
const [, , url = '', prefix, seed, adapter] = process.argv;
const random = new Random(Number(seed));
const streams: Stream[] = [];
let running = 0;

async function* generate(stream: Stream, report: ReportCost) {
  running++;
  try {
    for (let part = 1; part <= stream.parts; part++) {
      stream.real = Math.round((stream.wanted * part) / stream.parts);
      report(stream.real, 'tokens');
      yield 'text';
      await sleep(random.between(0, 4));
    }
    if (stream.end === 'fails') throw new Error('The stream broke');
  } finally {
    running--;
  }
}

@Controller()
class Model {
  @RateLimit('budget')
  @Get()
  stream(@Query('id') id: string, @ReportCost() report: ReportCost): StreamableFile {
    const stream = streams[Number(id)];
    stream.isAdmitted = true;
    if (stream.parts === 0) throw new Error('The handler failed');
    return new StreamableFile(Readable.from(generate(stream, report), { objectMode: false })).setErrorLogger(() => {});
  }
}

const store = url === 'memory' ? new MemoryStore() : { redis: url, prefix };
const policies = { budget: { ...BUDGET, key: 'all' } };
const root = RateLimitModule.forRoot({ store, policies, failure: { mode: 'closed', timeout: '20s' } });
const app = await NestFactory.create(
  { module: class {}, imports: [root], controllers: [Model] },
  adapter === 'express' ? new ExpressAdapter() : (new FastifyAdapter() as never),
  { logger: false },
);
await app.listen(0, '127.0.0.1');
const server: Server = app.getHttpServer();
const { port } = server.address() as AddressInfo;

/** Opens a stream, and resolves with its status when it has ended. */
function open(id: number): Promise<number> {
  const { end, parts } = streams[id];
  let chunks = parts > 0 && end === 'client disconnects' ? random.between(1, parts) : Infinity;
  return new Promise((resolve) => {
    const request = get({ port, path: `/?id=${id}`, agent: false }, (response: IncomingMessage) => {
      const status = response.statusCode ?? 0;
      response.on('data', () => chunks-- <= 0 && request.destroy());
      response.on('error', () => {}).on('close', () => resolve(status));
    });
    request.on('error', () => resolve(0));
  });
}

async function openUntilDenied(): Promise<void> {
  for (;;) {
    const id = streams.length;
    const end = random.pick(['completes', 'fails', 'client disconnects'] as const);
    const parts = random.pick([0, 1, 2, 4]);
    streams.push({ wanted: random.between(0, 3 * ESTIMATE), parts, end, isAdmitted: false, real: ESTIMATE });
    if ((await open(id)) === 429) return;
  }
}

await Promise.all(Array.from({ length: CONCURRENT }, openUntilDenied));
const connections = promisify(server.getConnections.bind(server));
for (let turn = 0; turn < 200 && (running > 0 || (await connections()) > 0); turn++) await sleep(10);
const leaked = running + (await connections());
const bucket = app.get(BucketService).bucket('budget', 'all');
await app.close();
const left = url === 'memory' ? await bucket.available() : undefined;
const journal: Journal = { streams, leaked, left };
process.send?.(journal, () => process.disconnect?.());

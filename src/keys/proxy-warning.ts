import { type ExecutionContext, Logger } from '@nestjs/common';
import { graphqlRequestOf } from '../context/graphql.js';
import { requestOf } from '../context/http.js';

/** What a request tells of its way, with Express and with Fastify, whose own request is `raw`. */
interface Travelled {
  readonly headers?: Readonly<Record<string, unknown>>;
  readonly socket?: { readonly remoteAddress?: string; readonly server?: object } | null;
  readonly raw?: Travelled;
  /** The application of Express. */
  readonly app?: object;
  /** The instance of Fastify. */
  readonly server?: object;
}

const logger = new Logger('RateLimit');
/** Applications and servers of which something was told: each hears of it once. */
const warned = new WeakSet<object>();

function warnOnce(place: object, warning: string): void {
  if (!warned.has(place)) logger.warn(warning);
  warned.add(place);
}

/** Warns where every proxy is trusted, and so everybody who says that he is one. `framework` is Express or Fastify. */
export function warnOfTrust(framework: unknown): void {
  const express = typeof framework === 'function';
  const trusted = express ? expressTrust(framework) : fastifyTrust(framework);
  if (trusted !== true) return;
  const setting = express ? '`trust proxy`' : '`trustProxy`';
  const better = express ? "app.set('trust proxy', '10.0.0.0/8')" : "new FastifyAdapter({ trustProxy: '10.0.0.0/8' })";
  warnOnce(
    framework as object,
    `${setting} is true, so that every client can choose the address that it is counted by. Trust the addresses of your proxies: ${better}`,
  );
}

/** Warns where the address of a request is that of a proxy, so that all behind it would share one bucket. */
export function lookForProxy(context: ExecutionContext, address: string): void {
  const type = context.getType<string>();
  if (type !== 'http' && type !== 'graphql') return;
  const request = (type === 'http' ? requestOf(context) : graphqlRequestOf(context)) as Travelled | undefined;
  const forwarded = request?.headers?.['x-forwarded-for'] ?? request?.headers?.forwarded;
  const socket = (request?.raw ?? request)?.socket;
  if (typeof forwarded !== 'string' || !socket) return;
  // What came forwarded counts: some proxy is trusted.
  if (address !== socket.remoteAddress) return warnOfTrust(request?.app ?? request?.server);
  // A client on the machine of the proxy itself.
  if (forwarded.includes(address) || !socket.server) return;
  const setting = request?.raw
    ? "new FastifyAdapter({ trustProxy: '10.0.0.0/8' }), with its addresses, because a number may trust nobody"
    : "app.set('trust proxy', '10.0.0.0/8'), with its addresses";
  warnOnce(
    socket.server,
    'A request came with `X-Forwarded-For` or `Forwarded`, but from an address that is not trusted. If it is a proxy of ' +
      `yours, all its clients share one bucket. Let it send \`X-Forwarded-For\`, and trust it: ${setting}`,
  );
}

function expressTrust(app: object): unknown {
  return (app as { get?(setting: string): unknown }).get?.('trust proxy');
}

/** Fastify tells its options to nobody; without a word of them there is no warning. */
function fastifyTrust(instance: unknown): unknown {
  for (let place = instance as object | null; place; place = Object.getPrototypeOf(place) as object | null) {
    const options = Object.getOwnPropertySymbols(place).find(({ description }) => description === 'fastify.options');
    if (options) return (place as Record<symbol, { trustProxy?: unknown } | undefined>)[options]?.trustProxy;
  }
}

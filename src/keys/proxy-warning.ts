import type { ExecutionContext } from '@nestjs/common';
import { readerOf } from '../context/readers.js';
import { warnOnce } from '../observe/logger.js';

/** What a request reveals of its route, with Express and with Fastify, whose own request is `raw`. */
interface RoutedRequest {
  readonly headers?: Readonly<Record<string, unknown>>;
  readonly socket?: { readonly remoteAddress?: string; readonly server?: object } | null;
  readonly raw?: RoutedRequest;
  /** The application of Express. */
  readonly app?: object;
  /** The instance of Fastify. */
  readonly server?: object;
}

/** Warns if every proxy is trusted, and so every client that claims to be one. `framework` is Express or Fastify. */
export function warnIfAllProxiesTrusted(framework: unknown): void {
  const express = typeof framework === 'function';
  const trusted = express ? expressTrust(framework) : fastifyTrust(framework);
  if (trusted !== true) return;
  const setting = express ? '`trust proxy`' : '`trustProxy`';
  const better = express ? "app.set('trust proxy', '10.0.0.0/8')" : "new FastifyAdapter({ trustProxy: '10.0.0.0/8' })";
  warnOnce.about(
    framework as object,
    `${setting} is true, so every client can choose the address that it is limited by. Trust only the addresses of your proxies: ${better}`,
  );
}

/** Warns if the address of a request is that of a proxy, so that all clients behind it would share one bucket. */
export function checkProxy(context: ExecutionContext, address: string): void {
  const reader = readerOf(context);
  if (!reader.hasHttpRequest) return;
  const request = reader.request(context) as RoutedRequest | undefined;
  const forwarded = request?.headers?.['x-forwarded-for'] ?? request?.headers?.forwarded;
  const socket = (request?.raw ?? request)?.socket;
  if (typeof forwarded !== 'string' || !socket) return;
  // The forwarded address is used: some proxy is trusted.
  if (address !== socket.remoteAddress) return warnIfAllProxiesTrusted(request?.app ?? request?.server);
  // A client on the machine of the proxy itself.
  if (forwarded.includes(address)) return;
  // Adapters for serverless functions inject requests, whose sockets have no server.
  const subject = socket.server ?? request?.app ?? request?.server;
  if (!subject) return;
  const setting = request?.raw
    ? "new FastifyAdapter({ trustProxy: '10.0.0.0/8' }) with its addresses; a number may trust no proxy"
    : "app.set('trust proxy', '10.0.0.0/8') with its addresses";
  warnOnce.about(
    subject,
    'Untrusted proxy: a request has `X-Forwarded-For` or `Forwarded`, but its address is not trusted. If it is your ' +
      `proxy, all its clients share one bucket. Make it send \`X-Forwarded-For\`, and trust it: ${setting}`,
  );
}

function expressTrust(app: object): unknown {
  return (app as { get?(setting: string): unknown }).get?.('trust proxy');
}

/** Fastify has no public way to its options; if they are not found, there is no warning. */
function fastifyTrust(instance: unknown): unknown {
  for (let place = instance as object | null; place; place = Object.getPrototypeOf(place) as object | null) {
    const options = Object.getOwnPropertySymbols(place).find(({ description }) => description === 'fastify.options');
    if (options) return (place as Record<symbol, { trustProxy?: unknown } | undefined>)[options]?.trustProxy;
  }
}

import type { ExecutionContext } from '@nestjs/common';
import { readerOf } from '../context/readers.js';
import { RateLimitResolverError } from '../exceptions/rate-limit-resolver.error.js';
import { bareAddress, isOwnKey } from './address.js';

/** A request of Express, or of Fastify, whose own request is `raw`. */
interface ForwardedRequest {
  readonly ip?: unknown;
  readonly headers?: Readonly<Record<string, unknown>>;
  readonly raw?: ForwardedRequest;
}

/** The client's address on any transport; `undefined` if there is none. */
export function clientAddress(context: ExecutionContext): string | undefined {
  const address = readerOf(context).address(context);
  return address === undefined || isOwnKey(address) ? address : behindPorts(context, address);
}

/**
 * The client's address if proxies write ports into `X-Forwarded-For`, as those of Azure do. Neither Express nor Fastify
 * recognizes such an entry as a trusted proxy, and takes it for the client. So the framework decides again about the same
 * request, as if its header had no ports.
 */
export function behindPorts(context: ExecutionContext, address: string): string {
  const bare = bareAddress(address);
  const request = readerOf(context).request(context) as ForwardedRequest | null | undefined;
  const raw = request?.raw ?? request;
  const forwarded = raw?.headers?.['x-forwarded-for'];
  if (bare === address || !request || !raw || typeof forwarded !== 'string') return address;
  const withoutPorts = forwarded.split(',').map((entry) => bareAddress(entry.trim()));
  const headers = { value: { ...raw.headers, 'x-forwarded-for': withoutPorts.join(', ') } };
  const copy: ForwardedRequest = Object.create(raw, { headers });
  const { ip } = raw === request ? copy : (Object.create(request, { raw: { value: copy } }) as ForwardedRequest);
  return typeof ip === 'string' && ip !== '' ? ip : bare;
}

/** The error of an HTTP request without an address. */
export function noAddress(context: ExecutionContext): RateLimitResolverError {
  const handler = `${context.getClass().name}.${context.getHandler().name}`;
  return new RateLimitResolverError(
    `No client address for ${handler}: neither \`request.ip\` nor the socket has one, as behind some serverless adapters ` +
      'and on Unix sockets. Set `key` to an address that your platform reports, or trust the proxy that sends it',
  );
}

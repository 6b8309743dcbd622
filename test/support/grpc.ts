import { connect } from 'node:http2';
import { join } from 'node:path';
import {
  type Client,
  type ClientDuplexStream,
  type ClientOptions,
  credentials,
  loadPackageDefinition,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import protobuf from 'protobufjs';

export const PROTO = join(process.cwd(), 'test/support/prices.proto');

/** Decodes `grpc-status-details-bin`, independently of the code that encodes it. */
export function decodeStatus(bytes: Buffer): object {
  const root = protobuf.loadSync(join(process.cwd(), 'test/support/rpc-status.proto'));
  const decode = (type: string, from: Uint8Array) => {
    const found = root.lookupType(type);
    return found.toObject(found.decode(from), { longs: Number }) as Record<string, unknown>;
  };
  const { details, ...status } = decode('google.rpc.Status', bytes);
  const any = details as { typeUrl: string; value: Uint8Array }[];
  return {
    ...status,
    details: any.map(({ typeUrl, value }) => decode(typeUrl.replace('type.googleapis.com/', ''), value)),
  };
}

/** How a call ended: what it received, or the status that is not OK. */
export type Ending =
  | { readonly prices: readonly number[] }
  | { readonly code: number; readonly details: string; readonly metadata: Metadata };

type Stream = ClientDuplexStream<object, { readonly price: number }>;

/** A client of all methods of `prices.proto`, whatever their kind. */
export class PricesClient {
  private readonly client: Client;

  constructor(address: string, options: ClientOptions = {}) {
    const { prices } = loadPackageDefinition(loadSync(PROTO)) as unknown as {
      prices: { Prices: new (...args: unknown[]) => Client };
    };
    this.client = new prices.Prices(address, credentials.createInsecure(), options);
  }

  /** Starts a call; cancel it with `cancel`. Its deadline is `timeout` ms from now. */
  start(
    method: string,
    headers: Record<string, string> = {},
    timeout = Infinity,
  ): { ending: Promise<Ending>; cancel(): void } {
    const metadata = new Metadata();
    for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
    const prices: number[] = [];
    let call: Stream | undefined;
    const ending = new Promise<Ending>((resolve) => {
      const settle = (error: ServiceError | null, answer?: { readonly price: number }) => {
        if (error) return resolve({ code: error.code, details: error.details, metadata: error.metadata });
        resolve({ prices: answer ? [...prices, answer.price] : prices });
      };
      const { requestStream, responseStream } = this.definition(method);
      const invoke = (this.client as unknown as Record<string, (...args: unknown[]) => Stream>)[method].bind(
        this.client,
      );
      call = invoke(
        ...(requestStream ? [] : [{ name: 'x' }]),
        metadata,
        { deadline: Date.now() + timeout },
        ...(responseStream ? [] : [settle]),
      );
      if (requestStream) {
        call.write({ name: 'x' });
        call.end();
      }
      if (!responseStream) return;
      call.on('data', ({ price }) => prices.push(price));
      call.on('error', (error: ServiceError) => settle(error));
      call.on('end', () => settle(null));
    });
    return { ending, cancel: () => call?.cancel() };
  }

  call(method: string, headers?: Record<string, string>): Promise<Ending> {
    return this.start(method, headers).ending;
  }

  close(): void {
    this.client.close();
  }

  private definition(method: string): { readonly requestStream: boolean; readonly responseStream: boolean } {
    const { service } = this.client.constructor as unknown as {
      service: Record<string, { requestStream: boolean; responseStream: boolean }>;
    };
    return service[method];
  }
}

/** Starts a call on a connection of its own, and closes the connection after `until`. */
export async function disconnectDuring(address: string, method: string, until: () => Promise<unknown>): Promise<void> {
  const session = connect(`http://${address}`);
  const stream = session.request({
    ':method': 'POST',
    ':path': `/prices.Prices/${method}`,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.on('error', () => {});
  stream.end(Buffer.alloc(5)); // an empty message
  await until();
  session.destroy();
}

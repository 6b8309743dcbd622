import { once } from 'node:events';
import { type ClientRequest, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import type { DynamicModule, INestApplication, Type } from '@nestjs/common';
import { GraphQLModule } from '@nestjs/graphql';
import { MercuriusDriver, type MercuriusDriverConfig } from '@nestjs/mercurius';
import { type Client, createClient } from 'graphql-ws';
import WebSocket from 'ws';
import type { AdapterName } from './create-app.js';

/** The GraphQL servers that Nest has drivers for. */
export const SERVERS = ['Apollo on Express', 'Apollo on Fastify', 'Mercurius'] as const;
type ServerName = (typeof SERVERS)[number];

export function adapterOf(server: ServerName): AdapterName {
  return server === 'Apollo on Express' ? 'express' : 'fastify';
}

/** Returns a GraphQL module whose schema is generated from the application's resolvers. */
export function graphqlModule(server: ServerName, options: Partial<ApolloDriverConfig> = {}): DynamicModule {
  const common = { autoSchemaFile: true, ...options };
  if (server === 'Mercurius') {
    return GraphQLModule.forRoot<MercuriusDriverConfig>({
      ...(common as object),
      driver: MercuriusDriver as Type<MercuriusDriver>,
      subscription: { fullWsTransport: true },
    });
  }
  return GraphQLModule.forRoot<ApolloDriverConfig>({
    subscriptions: { 'graphql-ws': true },
    ...common,
    driver: ApolloDriver,
    graphiql: false,
  });
}

export interface ExecutionResult {
  readonly data?: Record<string, unknown> | null;
  readonly errors?: readonly {
    readonly message: string;
    readonly path?: unknown;
    readonly extensions?: Record<string, unknown>;
  }[];
}

export interface Response {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: ExecutionResult;
}

/** Sends a GraphQL request over HTTP from the given local address. */
export function send(app: INestApplication, text: string, localAddress = '127.0.0.1'): ClientRequest {
  const { port } = app.getHttpServer().address() as AddressInfo;
  const headers = { 'content-type': 'application/json' };
  const options = { port, host: '127.0.0.1', path: '/graphql', method: 'POST', headers };
  const outgoing = request({ ...options, localAddress, agent: false });
  outgoing.end(JSON.stringify({ query: text }));
  return outgoing;
}

/** Sends a GraphQL request and returns the response. */
export async function query(app: INestApplication, text: string, localAddress?: string): Promise<Response> {
  const [response] = (await once(send(app, text, localAddress), 'response')) as [IncomingMessage];
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    body: (await json(response)) as ExecutionResult,
  };
}

/** Creates a client for subscriptions that connects from the given local address. */
export function subscriber(app: INestApplication, localAddress = '127.0.0.1'): Client {
  const { port } = app.getHttpServer().address() as AddressInfo;
  class Socket extends WebSocket {
    constructor(url: string, protocols: string) {
      super(url, protocols, { localAddress });
    }
  }
  return createClient({ url: `ws://127.0.0.1:${port}/graphql`, webSocketImpl: Socket, retryAttempts: 0 });
}

/** Subscribes and returns all results until the subscription ends. */
export async function subscribe(client: Client, text: string): Promise<ExecutionResult[]> {
  const results: ExecutionResult[] = [];
  try {
    for await (const result of client.iterate({ query: text })) results.push(result as ExecutionResult);
  } catch (errors) {
    results.push({ errors: errors as ExecutionResult['errors'] });
  }
  return results;
}

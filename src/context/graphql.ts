import type { ExecutionContext } from '@nestjs/common';
import { addressOfRequest, type ContextReader, socketOfRequest } from './context-reader.js';

/*
 * What Nest's drivers put into the context of a GraphQL execution, and what users make of it: request and response of
 * Express, those of Fastify, or the connection of a subscription.
 */

type Loose = { readonly [name: string]: unknown } | undefined;

/** Apollo and Mercurius. */
export const graphql: ContextReader = {
  hasHttpRequest: true,
  endsWithResponse: false,
  address: (context) => addressOfRequest(graphqlRequestOf(context)),
  request: graphqlRequestOf,
  response: graphqlResponseOf,

  /** In the context of the execution, which may have no request, or of the connection that a subscription came over. */
  user(context) {
    const shared = sharedOf(context);
    return shared?.user ?? connectionIn(shared).extra?.user;
  },

  /** The socket of a subscription, or that of the request if the context does not lead to a response. */
  socket(context) {
    const { extra } = connectionIn(sharedOf(context));
    if (extra) return object(extra.socket);
    const request = graphqlRequestOf(context);
    return object((object(request?.raw) ?? request)?.socket);
  },

  networkSocket: (context) => socketOfRequest(graphqlRequestOf(context)),
  identity: (context) => context.getArgs(),
};

/** The request of an execution; of a subscription the one that opened its connection. */
function graphqlRequestOf(context: ExecutionContext): Loose {
  const shared = sharedOf(context);
  const { extra } = connectionIn(shared);
  return (
    object(extra?.request) ?? object(shared?.req) ?? object(shared?.request) ?? object(object(shared?.reply)?.request)
  );
}

/** The response that carries the result; `undefined` for subscriptions, and if the context does not lead to it. */
export function graphqlResponseOf(context: ExecutionContext): Loose {
  const shared = sharedOf(context);
  const candidates = [shared?.res, shared?.reply, object(shared?.req)?.res];
  return candidates.map(object).find((found) => canHaveHeaders(found));
}

/** Whether an execution is that of a subscription, whose result is an iterator. */
export function isSubscription(context: ExecutionContext): boolean {
  const info = object(context.getArgByIndex(3));
  return object(info?.operation)?.operation === 'subscription' && object(info?.path)?.prev === undefined;
}

/** The third argument of a resolver; the second of one without arguments, such as a reference resolver. */
function sharedOf(context: ExecutionContext): Loose {
  const args = context.getArgs<unknown[]>();
  return object(args[args.length < 4 ? 1 : 2]);
}

/** Where graphql-ws keeps socket and request. Unless the user sets `context`, Nest passes it on as the request. */
function connectionIn(shared: Loose): { readonly extra: Loose } {
  return { extra: object(shared?.extra) ?? object(object(shared?.req)?.extra) };
}

function canHaveHeaders(response: Loose): boolean {
  return typeof response?.header === 'function' || typeof response?.setHeader === 'function';
}

function object(value: unknown): Loose {
  return typeof value === 'object' && value !== null ? (value as Loose) : undefined;
}

import type { ExecutionContext } from '@nestjs/common';

/*
 * What the drivers of Nest put into the context of a GraphQL execution, which is also what a user makes of it:
 * request and response of Express, those of Fastify, or the connection of a subscription.
 */

type Loose = { readonly [name: string]: unknown } | undefined;

/** The request of an execution; of a subscription the one that opened its connection. */
export function graphqlRequestOf(context: ExecutionContext): Loose {
  const shared = sharedOf(context);
  const { extra } = connectionIn(shared);
  return (
    object(extra?.request) ?? object(shared?.req) ?? object(shared?.request) ?? object(object(shared?.reply)?.request)
  );
}

/** The response that carries the result; `undefined` for subscriptions, and where the context does not lead to it. */
export function graphqlResponseOf(context: ExecutionContext): Loose {
  const shared = sharedOf(context);
  const candidates = [shared?.res, shared?.reply, object(shared?.req)?.res];
  return candidates.map(object).find((found) => canHaveHeaders(found));
}

/** The socket of a subscription, or that of the request where there is no response to be seen. */
export function graphqlSocketOf(context: ExecutionContext): Loose {
  const { extra } = connectionIn(sharedOf(context));
  if (extra) return object(extra.socket);
  const request = graphqlRequestOf(context);
  return object((object(request?.raw) ?? request)?.socket);
}

/** The third argument of a resolver; the second of one that has no arguments, such as a reference resolver. */
function sharedOf(context: ExecutionContext): Loose {
  const args = context.getArgs<unknown[]>();
  return object(args[args.length < 4 ? 1 : 2]);
}

/** Where graphql-ws keeps socket and request. Without a `context` of the user, Nest hands it on as the request. */
function connectionIn(shared: Loose): { readonly extra: Loose } {
  return { extra: object(shared?.extra) ?? object(object(shared?.req)?.extra) };
}

function canHaveHeaders(response: Loose): boolean {
  return typeof response?.header === 'function' || typeof response?.setHeader === 'function';
}

function object(value: unknown): Loose {
  return typeof value === 'object' && value !== null ? (value as Loose) : undefined;
}

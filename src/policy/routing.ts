import type { ExploredClass, ExploredMethod, Handler } from './explorer.js';

/** Metadata of decorators that route messages to a method. */
const MESSAGE = /^(websockets:message_mapping|microservices:handler_type)$/;
/** Metadata of decorators that route requests to a method of a controller, resolver or gateway, with guards. */
const ROUTE = /^(path$|websockets:|microservices:|graphql:|mercurius:|Symbol\(RABBIT_HANDLER\)$)/;
/** Metadata of decorators of schedulers, events and queues, which run no guards. */
const UNGUARDED = /^(SCHEDULE|EVENT_LISTENER|bull)/;
/** Metadata by which no library calls a provider: of TypeScript, of Nest's decorators, of OpenAPI, and ours. */
const OTHER = /^(path$|method$|design:|__|swagger\/|Symbol\(nest-rate-limit:)/;
/** Metadata of gateways and resolvers. */
const ROUTED_CLASS = /^(websockets:is_gateway$|graphql:)/;

/** Whether a method handles messages of a gateway or a microservice. */
export function isMessageHandler(method: Handler): boolean {
  return hasMetadata(method, MESSAGE);
}

/** Whether a decorator routes requests to a method. */
export function hasRoute(method: Handler): boolean {
  return hasMetadata(method, ROUTE);
}

/** Whether Nest routes to the methods of a class: a controller, resolver or gateway. */
export function isRoutedClass({ type, isController }: ExploredClass): boolean {
  return isController || hasMetadata(type, ROUTED_CLASS);
}

/**
 * Whether guards run for a method. That is uncertain for a provider with metadata or guards that are unknown here: the
 * library that defines them may run guards, so the answer is `true`.
 */
export function isRouted(explored: ExploredClass, { method }: ExploredMethod): boolean {
  if (isRoutedClass(explored)) return hasRoute(method);
  if ([explored.type, method].some((target) => guardsOf(target).length > 0)) return true;
  return !hasMetadata(method, UNGUARDED) && metadataOf(method).some((key) => !OTHER.test(key));
}

/** The arguments of `@UseGuards` on a class or method. */
export function guardsOf(target: object): readonly unknown[] {
  return Reflect.getMetadata('__guards__', target) ?? [];
}

function hasMetadata(target: object, pattern: RegExp): boolean {
  return metadataOf(target).some((key) => pattern.test(key));
}

function metadataOf(target: object): string[] {
  return Reflect.getMetadataKeys(target).map(String);
}

import type { Handler } from './explorer.js';

/** Metadata of Nest's decorators, which mark what it routes to a method. */
const MESSAGES = ['websockets:message_mapping', 'microservices:handler_type'];

/** Whether a method handles messages of a gateway or a microservice. */
export function isMessageHandler(method: Handler): boolean {
  return MESSAGES.some((key) => Reflect.hasMetadata(key, method));
}

/** The arguments of `@UseGuards` on a class or method. */
export function guardsOf(target: object): readonly unknown[] {
  return Reflect.getMetadata('__guards__', target) ?? [];
}

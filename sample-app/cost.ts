import type { ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';

/** Sets the cost of a handler. */
export const Cost = Reflector.createDecorator<number>();

const reflector = new Reflector();

/** Returns the cost of the handler; default 1. */
export function costOf(context: ExecutionContext): number {
  return reflector.get(Cost, context.getHandler()) ?? 1;
}

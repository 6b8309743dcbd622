import type { ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';

/** What a handler costs, written at the handler. */
export const Cost = Reflector.createDecorator<number>();

const reflector = new Reflector();

/** The cost that stands at the handler; 1 where none does. */
export function costOf(context: ExecutionContext): number {
  return reflector.get(Cost, context.getHandler()) ?? 1;
}

import type { ExecutionContext } from '@nestjs/common';

/*
 * Request and response of an HTTP context. They are its first two arguments; `switchToHttp` would make an object and
 * three functions each time to hand them out.
 */

export function requestOf<T>(context: ExecutionContext): T {
  return context.getArgByIndex<T | undefined>(0) ?? context.switchToHttp().getRequest<T>();
}

export function responseOf<T>(context: ExecutionContext): T {
  return context.getArgByIndex<T | undefined>(1) ?? context.switchToHttp().getResponse<T>();
}

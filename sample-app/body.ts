import { BadRequestException, type ExecutionContext } from '@nestjs/common';

/** The body of a request, as it came. */
export function bodyOf(context: ExecutionContext): unknown {
  return context.switchToHttp().getRequest<{ body?: unknown }>().body;
}

/**
 * A field of a body that nobody has checked: guards run before pipes, so whoever takes a key from the body must do it
 * himself. The error is the request's answer; nothing is taken from a bucket then.
 */
export function textOf(body: unknown, field: string): string {
  const value = typeof body === 'object' && body !== null ? (body as Record<string, unknown>)[field] : undefined;
  if (typeof value === 'string' && value !== '' && value.length <= 100) return value;
  throw new BadRequestException(`${field} must be a text of 1 to 100 characters`);
}

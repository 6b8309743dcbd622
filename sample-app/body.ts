import { BadRequestException, type ExecutionContext } from '@nestjs/common';

/** Returns the unvalidated body of a request. */
export function bodyOf(context: ExecutionContext): unknown {
  return context.switchToHttp().getRequest<{ body?: unknown }>().body;
}

/**
 * Returns a string field of a body. Guards run before pipes, so a key function has to validate the body itself. An
 * invalid field ends the request with 400, and no tokens are taken.
 */
export function stringOf(body: unknown, field: string): string {
  const value = typeof body === 'object' && body !== null ? (body as Record<string, unknown>)[field] : undefined;
  if (typeof value === 'string' && value !== '' && value.length <= 100) return value;
  throw new BadRequestException(`${field} must be a string of 1 to 100 characters`);
}

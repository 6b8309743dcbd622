/**
 * A wrong option, found when it is defined: at start-up, or when `BucketService.bucket` is called. The message names
 * the place, the option, the rule and the value.
 */
export class RateLimitOptionError extends Error {
  override readonly name = 'RateLimitOptionError';

  /**
   * The same error with the place it was found at in front: `Invalid @RateLimit on Sms.send: …`.
   * @internal
   */
  static at(place: string, error: unknown): unknown {
    return error instanceof RateLimitOptionError
      ? new RateLimitOptionError(`Invalid ${place}: ${error.message}`)
      : error;
  }
}

/** Fails with `` `option` must be <rule>, got <value> ``. */
export function reject(option: string, rule: string, value: unknown): never {
  throw new RateLimitOptionError(`\`${option}\` must be ${rule}, got ${show(value)}`);
}

/** Fails unless every key of `options` is one of `known`. */
export function checkNames(options: object, known: readonly string[]): void {
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) {
      throw new RateLimitOptionError(`unknown option \`${name}\`, known are ${known.join(', ')}`);
    }
  }
}

/** A value as it looks in an error message, never longer than a line. */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  if (typeof value === 'function') return `function ${value.name || '(anonymous)'}`;
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'object' && value !== null) return `an object of ${value.constructor?.name ?? 'no class'}`;
  return String(value);
}

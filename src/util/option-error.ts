/**
 * A wrong option, found when it is defined: at start-up, or when `BucketService.bucket` is called. The message names
 * the place, the option, the rule and the value.
 */
export class RateLimitOptionError extends Error {
  override readonly name = 'RateLimitOptionError';
}

/** Parses; what is found wrong is told with its place in front: `Invalid @RateLimit on Sms.send: …`. */
export function at<T>(place: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof RateLimitOptionError) throw new RateLimitOptionError(`${place}: ${error.message}`);
    throw error;
  }
}

/** Fails with `` `option` must be <rule>, got <value> ``. */
export function reject(option: string, rule: string, value: unknown): never {
  throw new RateLimitOptionError(`\`${option}\` must be ${rule}, got ${show(value)}`);
}

/** The same without telling a text: there may be a password in it. */
export function rejectSecret(option: string, rule: string, value: unknown): never {
  const told = typeof value === 'string' ? `a text of ${value.length} characters` : show(value);
  throw new RateLimitOptionError(`\`${option}\` must be ${rule}, got ${told}`);
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

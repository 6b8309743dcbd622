import { inspect, types } from 'node:util';

/**
 * What may be passed on of a client's error: its name, message, code and stack. The error itself also has the command
 * that failed, and so passwords and keys, which would be in every log that prints a cause.
 */
export function safeError(error: unknown): Error {
  // Not `instanceof`: a client in another realm has another `Error`.
  if (!types.isNativeError(error)) return new Error(inspect(error).slice(0, 100));
  const { name, code, stack } = error as NodeJS.ErrnoException;
  // Node's error for several unreachable addresses has no message.
  const safe = new Error(error.message || code || name);
  return Object.assign(safe, { name, stack }, code === undefined ? {} : { code });
}

import { RateLimitStoreError } from '../../../exceptions/rate-limit-store.error.js';
import { later } from '../../../util/clock.js';
import { safeError } from './client-error.js';
import type { ClientPort } from './client-port.js';

/** How long to wait for the reply, in ms. */
const TIMEOUT = 2000;

/** Rejects unless the connection is ready and Redis replies to a command, both within 2 seconds. */
export async function ping(port: ClientPort): Promise<void> {
  let connectionError = port.readinessError()?.cause as Error | undefined;
  const stop = port.on('error', (error) => {
    connectionError = safeError(error);
  });
  const timeout = new Promise<never>((_, reject) => {
    later(TIMEOUT, () => reject(new Error(`no reply within ${TIMEOUT} ms`)));
  });
  try {
    await Promise.race([port.whenReady().then(() => port.time()), timeout]);
  } catch (error) {
    // The error of a command that could not be sent does not contain the reason.
    const cause = connectionError ?? safeError(error);
    throw new RateLimitStoreError(`Cannot connect to ${port.serverName()}: ${cause.message}`, 'store', { cause });
  } finally {
    stop();
  }
}

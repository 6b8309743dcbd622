import type { RedisClient } from './clients/redis-client.js';

/**
 * The first attempt of a client to connect. Commands that are sent during it wait for its end, because a client without an
 * offline queue rejects them.
 */
export class FirstConnection {
  /** Resolves when the connection is ready, or the attempt has failed; `undefined` from then on. */
  attempt: Promise<void> | undefined;

  constructor(client: RedisClient) {
    const { status } = client;
    if (status !== 'connecting' && status !== 'connect') return;
    this.attempt = new Promise((resolve) => {
      this.end = () => {
        this.attempt = undefined;
        client.removeListener('ready', this.end);
        client.removeListener('close', this.end);
        resolve();
      };
    });
    client.on('ready', this.end);
    client.on('close', this.end);
  }

  /** Stops waiting. */
  end: () => void = () => {};
}

import type { ClientPort } from './clients/client-port.js';

/**
 * The first attempt of a client to connect. Commands that are sent during it wait for its end, because a client without an
 * offline queue rejects them.
 */
export class FirstConnection {
  /** Resolves when the connection is ready, or the attempt has failed; `undefined` from then on. */
  attempt: Promise<void> | undefined;

  constructor(port: ClientPort) {
    if (!port.isConnecting) return;
    this.attempt = new Promise((resolve) => {
      this.end = () => {
        this.attempt = undefined;
        for (const stop of stops) stop();
        resolve();
      };
      const stops = [port.on('ready', this.end), port.on('failed', this.end)];
    });
  }

  /** Stops waiting. */
  end: () => void = () => {};
}

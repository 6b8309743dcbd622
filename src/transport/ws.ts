import { ClientGoneError } from '../context/connection.js';
import { encodedAnswer, messageTransport } from './message.js';
import type { Transport } from './transport.js';

/** A client of `ws` or socket.io. */
interface Client {
  readonly readyState?: unknown;
  send?(data: string): unknown;
  emit?(event: string, data: unknown): unknown;
}

/** The client receives an acknowledgement if it waits for one, or else an `exception` event. */
export const ws: Transport = {
  ...messageTransport(async () => (await import('@nestjs/websockets')).WsException),

  answerThrown(exception, host) {
    if (exception instanceof ClientGoneError) return;
    const answer = encodedAnswer(exception, host);
    const acknowledge = host.getArgByIndex<unknown>(2);
    if (typeof acknowledge === 'function') acknowledge(answer);
    else send(host.getArgByIndex(0), answer);
  },
};

/** Clients of `ws` have `readyState`. Their `emit` sends nothing. */
function send(client: Client, data: object): void {
  if (typeof client.readyState !== 'number') client.emit?.('exception', data);
  else client.send?.(JSON.stringify({ event: 'exception', data }));
}

import { messageTransport } from './message.js';

/** Gateways with `ws` and socket.io: the client receives an `exception` event. */
export const ws = messageTransport(async () => (await import('@nestjs/websockets')).WsException);

import { messageTransport } from './message.js';

/** Microservices. */
export const rpc = messageTransport(async () => (await import('@nestjs/microservices')).RpcException);

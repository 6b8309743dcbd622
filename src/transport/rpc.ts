import { tcpSocketOf } from '../context/connection.js';
import { messageTransport } from './message.js';
import { textOf } from './transport.js';

/** Microservices. Only over TCP there is an address, that of the service that asks. */
export const rpc = messageTransport(
  (context) => textOf(tcpSocketOf(context)?.remoteAddress),
  async () => (await import('@nestjs/microservices')).RpcException,
);

import type { INestApplication, ModuleMetadata } from '@nestjs/common';
import { ClientRedis, Transport } from '@nestjs/microservices';
import { createApp } from './create-app.js';
import type { Client } from './disconnecting.js';
import { redisUrl } from './redis.js';

type MessageClient = Omit<Client, 'socket' | 'close'> & { close(): unknown };

/** A microservice over Redis. All clients share one connection of the server. */
export async function serveRedis(
  metadata: ModuleMetadata,
): Promise<{ app: INestApplication; connect: () => Promise<MessageClient> }> {
  const { hostname: host, port, username, password } = new URL(redisUrl());
  const app = await createApp('express', metadata);
  const options = { host, port: Number(port || 6379), username, password };
  app.connectMicroservice({ transport: Transport.REDIS, options }, { inheritAppConfig: true });
  await app.startAllMicroservices();
  const connect = async () => {
    const client = new ClientRedis(options);
    await client.connect();
    let text = '';
    const note = (data: unknown) => {
      text += JSON.stringify(data);
    };
    return {
      close: () => client.close(),
      received: () => text,
      call: (name: string) => void client.send(name, 1).subscribe({ next: note, error: note }),
    };
  };
  return { app, connect };
}

import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { RootModule } from './root.module.js';

async function bootstrap() {
  const app = await NestFactory.create<NestFastifyApplication>(RootModule, new FastifyAdapter(), { logger: ['error'] });
  await app.listen(0, '127.0.0.1');
  const url = await app.getUrl();
  console.log((await fetch(url)).status, (await fetch(url)).status);
  await app.close();
}

bootstrap().then(() => console.log('done'));

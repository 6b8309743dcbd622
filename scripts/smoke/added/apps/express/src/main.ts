import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';

async function bootstrap() {
  const app = await NestFactory.create(AppModule, { logger: ['error'] });
  await app.listen(0, '127.0.0.1');
  const url = await app.getUrl();
  console.log((await fetch(url)).status, (await fetch(url)).status);
  await app.close();
}

bootstrap().then(() => console.log('done'));

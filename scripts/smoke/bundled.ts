// An application to bundle. It uses none of the optional packages, which are not installed.
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { RateLimitModule } from 'nest-rate-limit';
import { PostsModule } from './bundled-posts.js';
import { UsersModule } from './bundled-users.js';

@Module({ imports: [RateLimitModule.forRoot(), PostsModule, UsersModule] })
class AppModule {}

async function main() {
  const app = await NestFactory.create(AppModule, { logger: ['error', 'warn'] });
  await app.listen(0, '127.0.0.1');
  const url = await app.getUrl();
  const statuses: number[] = [];
  for (const path of ['posts', 'users', 'posts', 'users']) statuses.push((await fetch(`${url}/${path}`)).status);
  await app.close();
  if (statuses.join() === '200,200,429,429') console.log('done');
  else console.error(`Bundled application answered ${statuses}`);
}

main();

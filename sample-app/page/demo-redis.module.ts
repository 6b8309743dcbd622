import { Module } from '@nestjs/common';
import { DemoRedis } from './demo-redis.js';

@Module({ providers: [DemoRedis], exports: [DemoRedis] })
export class DemoRedisModule {}

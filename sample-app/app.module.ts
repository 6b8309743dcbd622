import { Module } from '@nestjs/common';
import { MemoryStore, RateLimitModule } from 'nest-rate-limit';
import { ApiController } from './api.controller.js';
import { DemoRedis } from './demo-redis.js';
import { HelloController } from './hello.controller.js';
import { LoginController } from './login.controller.js';
import { MailController } from './mail.controller.js';
import { MailService } from './mail.service.js';
import { PageModule } from './page.module.js';
import { policies } from './policies.js';
import { QueueController } from './queue.controller.js';
import { ReportsController } from './reports.controller.js';
import { SmsController } from './sms.controller.js';

@Module({
  imports: [
    RateLimitModule.forRootAsync({
      imports: [PageModule],
      inject: [DemoRedis],
      useFactory: async (redis: DemoRedis) => {
        const { REDIS_URL } = process.env;
        return { policies, store: REDIS_URL ? { redis: await redis.connect(REDIS_URL) } : new MemoryStore() };
      },
    }),
  ],
  controllers: [
    HelloController,
    SmsController,
    ApiController,
    MailController,
    QueueController,
    LoginController,
    ReportsController,
  ],
  providers: [MailService],
})
export class AppModule {}

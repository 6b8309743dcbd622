import { Module } from '@nestjs/common';
import { MemoryStore, RateLimitModule } from 'nest-rate-limit';
import { ApiModule } from './api/api.module.js';
import { ChatModule } from './chat/chat.module.js';
import { DocumentsModule } from './documents/documents.module.js';
import { ExportsModule } from './exports/exports.module.js';
import { BooksModule } from './graphql/books.module.js';
import { HealthModule } from './health/health.module.js';
import { HelloModule } from './hello/hello.module.js';
import { LoginModule } from './login/login.module.js';
import { MailModule } from './mail/mail.module.js';
import { OutboxModule } from './outbox/outbox.module.js';
import { DemoRedis } from './page/demo-redis.js';
import { DemoRedisModule } from './page/demo-redis.module.js';
import { PageModule } from './page/page.module.js';
import { QueueModule } from './queue/queue.module.js';
import { ReportsModule } from './reports/reports.module.js';
import { SmsModule } from './sms/sms.module.js';
import { TiersModule } from './tiers/tiers.module.js';

/** One module per example, and the store of the buckets. */
@Module({
  imports: [
    RateLimitModule.forRootAsync({
      imports: [DemoRedisModule],
      inject: [DemoRedis],
      useFactory: async (redis: DemoRedis) => {
        const { REDIS_URL } = process.env;
        return { store: REDIS_URL ? { redis: await redis.connect(REDIS_URL) } : new MemoryStore() };
      },
    }),
    HelloModule,
    SmsModule,
    ApiModule,
    DocumentsModule,
    TiersModule,
    MailModule,
    OutboxModule,
    QueueModule,
    ExportsModule,
    LoginModule,
    ReportsModule,
    BooksModule,
    ChatModule,
    HealthModule,
    PageModule,
  ],
})
export class AppModule {}

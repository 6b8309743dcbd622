import { Module } from '@nestjs/common';
import { RateLimitModule } from 'nest-rate-limit';
import { costOf } from '../cost.js';
import { ApiController } from './api.controller.js';

@Module({
  imports: [
    // A feature brings its policies along: 5 tokens at once, one more each second.
    RateLimitModule.forFeature({ api: { capacity: 5, refill: 1, cost: costOf } }),
  ],
  controllers: [ApiController],
})
export class ApiModule {}

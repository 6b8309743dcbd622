import { Module } from '@nestjs/common';
import { RateLimitModule } from 'nest-rate-limit';
import { costOf } from '../cost.js';
import { ApiController } from './api.controller.js';

@Module({
  imports: [
    // A feature module defines its own policies: a burst of 5 tokens, refilled at one per second.
    RateLimitModule.forFeature({ api: { capacity: 5, refill: 1, cost: costOf } }),
  ],
  controllers: [ApiController],
})
export class ApiModule {}

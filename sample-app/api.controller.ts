import { Controller, Get, Post } from '@nestjs/common';
import { RateLimit } from 'nest-rate-limit';
import { Cost } from './cost.js';

/** One bucket for several handlers of different weight: the policy `api`, named in `policies.ts`. */
@RateLimit('api')
@Controller('api')
export class ApiController {
  @Get('ping')
  ping(): string {
    return 'pong';
  }

  @Cost(3)
  @Post('upload')
  upload(): string {
    return 'uploaded';
  }
}

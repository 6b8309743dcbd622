import { Controller, Get, Post } from '@nestjs/common';
import { RateLimit } from 'nest-rate-limit';
import { Cost } from '../cost.js';

/** Several handlers share one bucket, each with its own cost. The policy `api` is defined in the module. */
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

import { Controller, Get, Post } from '@nestjs/common';
import { RateLimit } from 'nest-rate-limit';
import { Cost } from '../cost.js';

/** One bucket for several handlers, each of which tells its cost: the policy `api`, named in the module. */
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

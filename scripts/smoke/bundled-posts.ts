import { Controller, Get, Module } from '@nestjs/common';
import { RateLimit } from 'nest-rate-limit';

@Controller('posts')
class PostsController {
  @RateLimit({ maxRequest: 1, unit: 'hours' })
  @Get()
  list() {
    return [];
  }
}

@Module({ controllers: [PostsController] })
export class PostsModule {}

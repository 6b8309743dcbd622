import { Controller, Get, Module } from '@nestjs/common';
import { RateLimit } from 'nest-rate-limit';

@Controller('users')
class UsersController {
  @RateLimit({ maxRequest: 1, unit: 'hours' })
  @Get()
  list() {
    return [];
  }
}

@Module({ controllers: [UsersController] })
export class UsersModule {}

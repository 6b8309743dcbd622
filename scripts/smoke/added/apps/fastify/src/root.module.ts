import { Module } from '@nestjs/common';
import { AppController } from './app.controller.js';

@Module({
  imports: [
    // ConfigModule,
  ],
  controllers: [AppController],
})
export class RootModule {}

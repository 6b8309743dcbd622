import { Body, Controller, Get, HttpCode, Post } from '@nestjs/common';
import { stringOf } from '../body.js';
import { OutboxWorker } from './outbox.worker.js';

/** Requests do not wait for their mails to be sent: the handler adds them to the outbox, and the worker sends them. */
@Controller('outbox')
export class OutboxController {
  constructor(private readonly worker: OutboxWorker) {}

  @HttpCode(202)
  @Post()
  add(@Body() body: unknown): string {
    const to = stringOf(body, 'to');
    this.worker.add(to);
    return `To be sent to ${to}`;
  }

  @Get()
  state(): { waiting: number } {
    return { waiting: this.worker.waiting };
  }
}

import { Body, Controller, Get, HttpCode, Post } from '@nestjs/common';
import { textOf } from '../body.js';
import { OutboxWorker } from './outbox.worker.js';

/** Nobody waits for a mail to be sent: it is put into the outbox, and the worker does the rest. */
@Controller('outbox')
export class OutboxController {
  constructor(private readonly worker: OutboxWorker) {}

  @HttpCode(202)
  @Post()
  add(@Body() body: unknown): string {
    const to = textOf(body, 'to');
    this.worker.add(to);
    return `To be sent to ${to}`;
  }

  @Get()
  state(): { waiting: number } {
    return { waiting: this.worker.waiting };
  }
}

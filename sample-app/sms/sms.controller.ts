import { BadRequestException, Body, Controller, Post } from '@nestjs/common';
import { RateLimit, TimeUnit } from 'nest-rate-limit';
import { bodyOf, textOf } from '../body.js';

/** A token bucket for each phone number: 20 messages at once, and 10 per minute in the long run. */
@Controller('sms')
export class SmsController {
  @RateLimit({
    capacity: 20,
    refill: 10,
    duration: 1,
    unit: TimeUnit.MINUTES,
    key: (context) => phoneOf(bodyOf(context)),
    message: 'Too many messages to this number',
  })
  @Post()
  send(@Body() body: unknown): string {
    return `Sent to ${phoneOf(body)}`;
  }
}

/** The number's digits only: however it is written, it has one bucket. */
function phoneOf(body: unknown): string {
  const digits = textOf(body, 'phone').replace(/[\s+()/-]/g, '');
  if (/^\d{6,15}$/.test(digits)) return digits;
  throw new BadRequestException('phone must be a number of 6 to 15 digits');
}

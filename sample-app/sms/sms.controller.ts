import { BadRequestException, Body, Controller, Post } from '@nestjs/common';
import { RateLimit, TimeUnit } from 'nest-rate-limit';
import { bodyOf, stringOf } from '../body.js';

/** One token bucket per phone number: a burst of 20 messages, refilled at 10 per minute. */
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

/** Returns only the digits, so that all notations of a number share one bucket. */
function phoneOf(body: unknown): string {
  const digits = stringOf(body, 'phone').replace(/[\s+()/-]/g, '');
  if (/^\d{6,15}$/.test(digits)) return digits;
  throw new BadRequestException('phone must be a number of 6 to 15 digits');
}

import { Controller, type ExecutionContext, Get } from '@nestjs/common';
import { RateLimit } from 'nest-rate-limit';
import type { CustomerRequest } from './api-key.middleware.js';

/** A limit that depends on who asks: a policy for each tier, and strangers are free. */
@RateLimit(tierOf)
@Controller('quotes')
export class TiersController {
  @Get()
  quote(): string {
    return 'Less is more';
  }
}

/** The name of the policy. */
function tierOf(context: ExecutionContext): string {
  return context.switchToHttp().getRequest<CustomerRequest>().user?.tier ?? 'free';
}

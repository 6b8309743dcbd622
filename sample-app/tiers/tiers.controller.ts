import { Controller, type ExecutionContext, Get } from '@nestjs/common';
import { RateLimit } from 'nest-rate-limit';
import type { CustomerRequest } from './api-key.middleware.js';

/** The limit depends on the customer: each tier has a policy. Anonymous requests use the tier `free`. */
@RateLimit(tierOf)
@Controller('quotes')
export class TiersController {
  @Get()
  quote(): string {
    return 'Less is more';
  }
}

/** Returns the name of the policy. */
function tierOf(context: ExecutionContext): string {
  return context.switchToHttp().getRequest<CustomerRequest>().user?.tier ?? 'free';
}

import { Injectable, type NestMiddleware } from '@nestjs/common';

interface Customer {
  readonly name: string;
  readonly tier: 'premium' | 'standard' | 'free';
}

export interface CustomerRequest {
  readonly headers: Record<string, string | undefined>;
  user?: Customer;
}

/** Takes the place of a database. */
const CUSTOMERS = new Map<string | undefined, Customer>([
  ['ada-1815', { name: 'ada', tier: 'premium' }],
  ['grace-1906', { name: 'grace', tier: 'standard' }],
]);

/** Identifies the customer before any guard runs. Requests without a valid key stay anonymous. */
@Injectable()
export class ApiKeyMiddleware implements NestMiddleware {
  use(request: CustomerRequest, _response: unknown, next: () => void): void {
    request.user = CUSTOMERS.get(request.headers['x-api-key']);
    next();
  }
}

import { Injectable, type NestMiddleware } from '@nestjs/common';

interface Customer {
  readonly name: string;
  readonly tier: 'premium' | 'standard' | 'free';
}

export interface CustomerRequest {
  readonly headers: Record<string, string | undefined>;
  user?: Customer;
}

/** Stands for a database. */
const CUSTOMERS = new Map<string | undefined, Customer>([
  ['ada-1815', { name: 'ada', tier: 'premium' }],
  ['grace-1906', { name: 'grace', tier: 'standard' }],
]);

/** Tells who asks, before any guard. Who has no key, or one that nobody knows, stays a stranger. */
@Injectable()
export class ApiKeyMiddleware implements NestMiddleware {
  use(request: CustomerRequest, _response: unknown, next: () => void): void {
    request.user = CUSTOMERS.get(request.headers['x-api-key']);
    next();
  }
}

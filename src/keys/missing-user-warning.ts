import type { ExecutionContext } from '@nestjs/common';
import { onClose, responseConnection } from '../context/connection.js';
import { warnOnce } from '../observe/logger.js';

const FIX =
  'If a guard sets `user`, run it before RateLimitGuard: RateLimitModule.forRoot({ guard: false }), and ' +
  '@UseGuards(AuthGuard, RateLimitGuard), or both as APP_GUARD in this order';

/** Watches the first requests without a user, and warns once about a guard that sets it too late. */
export class MissingUserWarning {
  private checksLeft = 100;

  constructor(
    private readonly userOf: (context: ExecutionContext) => string | undefined,
    private readonly isError: boolean,
  ) {}

  check(context: ExecutionContext): void {
    if (this.checksLeft === 0) return;
    this.checksLeft--;
    // The request fails before a later guard can run, so whether there is one is unknown.
    if (this.isError) return this.warn(context, 'byUser() found no user');
    const connection = responseConnection(context);
    if (!connection) return;
    onClose(connection, () => {
      const late = this.checksLeft > 0 && this.userOf(context) !== undefined;
      if (late) this.warn(context, 'byUser() found no user, but there was one at the end of the request');
    });
  }

  private warn(context: ExecutionContext, found: string): void {
    this.checksLeft = 0;
    warnOnce.about(this, `${context.getClass().name}.${context.getHandler().name}: ${found}. ${FIX}`);
  }
}

import { type ExecutionContext, Logger } from '@nestjs/common';
import { connectionOf, whenClosed } from '../context/connection.js';

const MENDING =
  'If a guard sets `user`, let it run before RateLimitGuard: RateLimitModule.forRoot({ guard: false }), and ' +
  '@UseGuards(AuthGuard, RateLimitGuard), or both as APP_GUARD in this order';

const logger = new Logger('RateLimit');

/** Looks at the first requests without a user, and warns once of a guard that sets it too late. */
export class LateUser {
  private looks = 100;

  constructor(
    private readonly userOf: (context: ExecutionContext) => string | undefined,
    private readonly isError: boolean,
  ) {}

  look(context: ExecutionContext): void {
    if (this.looks === 0) return;
    this.looks--;
    // The request fails before a later guard could run, so whether there is one cannot be seen.
    if (this.isError) return this.warn(context, 'byUser() has found no user');
    const connection = connectionOf(context);
    if (!connection) return;
    whenClosed(connection, () => {
      const late = this.looks > 0 && this.userOf(context) !== undefined;
      if (late) this.warn(context, 'byUser() has found no user, but there was one when the request was over');
    });
  }

  private warn(context: ExecutionContext, found: string): void {
    this.looks = 0;
    logger.warn(`${context.getClass().name}.${context.getHandler().name}: ${found}. ${MENDING}`);
  }
}

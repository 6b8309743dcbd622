import { BadRequestException, type CanActivate, type ExecutionContext, Injectable, Module } from '@nestjs/common';
import { redisUrl } from './redis.js';

/*
 * The classes and functions that the snippets expect the reader's application to have, such as `AuthGuard`.
 */

interface Request {
  user?: { id: string; plan?: string };
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body?: { readonly phone?: unknown };
}

const requestOf = (context: ExecutionContext): Request => context.switchToHttp().getRequest<Request>();

export class AuthGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const request = requestOf(context);
    const id = request.headers['x-user'];
    if (id) request.user = { id, plan: request.headers['x-plan'] };
    return true;
  }
}

export const jwtSecret = 'a secret of at least 32 characters';

export const apiKeyOf = (context: ExecutionContext): string | undefined => requestOf(context).headers['x-api-key'];

export function phoneOf(context: ExecutionContext): string {
  const phone = requestOf(context).body?.phone;
  if (typeof phone === 'string') return phone;
  throw new BadRequestException('phone must be a string');
}

export interface Document {
  readonly pages: number;
}

export async function planOf(context: ExecutionContext): Promise<{ requests: number }> {
  const plans: Readonly<Record<string, number>> = { suspended: 0, own: Infinity };
  return { requests: plans[apiKeyOf(context) ?? ''] ?? 100 };
}

@Injectable()
export class Tiers {
  async of(apiKey: string | undefined): Promise<'paid' | 'free'> {
    return apiKey?.startsWith('paid') ? 'paid' : 'free';
  }
}

/** Grants every ticket unless `closed`: the first one synchronously, all others asynchronously. */
@Injectable()
export class TicketOffice {
  closed = false;
  private calls = 0;

  ask(callback: (granted: boolean) => void): void {
    if (this.calls++ === 0) callback(!this.closed);
    else setImmediate(() => callback(!this.closed));
  }
}

export class Settings {
  readonly redisUrl = redisUrl();
}

@Module({ providers: [Settings], exports: [Settings] })
export class SettingsModule {}

import { BadRequestException, type CanActivate, type ExecutionContext, Injectable, Module } from '@nestjs/common';
import { redisUrl } from './redis.js';

/*
 * What the README's snippets speak of as the reader's own: "`AuthGuard` is yours".
 */

interface Request {
  user?: { id: string };
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body?: { readonly phone?: unknown };
}

const requestOf = (context: ExecutionContext): Request => context.switchToHttp().getRequest<Request>();

export class AuthGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const request = requestOf(context);
    const id = request.headers['x-user'];
    if (id) request.user = { id };
    return true;
  }
}

export const apiKeyOf = (context: ExecutionContext): string | undefined => requestOf(context).headers['x-api-key'];

export function phoneOf(context: ExecutionContext): string {
  const phone = requestOf(context).body?.phone;
  if (typeof phone === 'string') return phone;
  throw new BadRequestException('phone must be a text');
}

export interface Document {
  readonly pages: number;
}

export class Completion {
  constructor(readonly tokens: number) {}
}

@Injectable()
export class Tiers {
  async of(apiKey: string | undefined): Promise<'paid' | 'free'> {
    return apiKey?.startsWith('paid') ? 'paid' : 'free';
  }
}

/** Grants all tickets, the first one at once and the others a moment later; `closed` refuses them. */
@Injectable()
export class TicketOffice {
  closed = false;
  private asked = 0;

  ask(tell: (granted: boolean) => void): void {
    if (this.asked++ === 0) tell(!this.closed);
    else setImmediate(() => tell(!this.closed));
  }
}

export class Settings {
  readonly redisUrl = redisUrl();
}

@Module({ providers: [Settings], exports: [Settings] })
export class SettingsModule {}

import { type CanActivate, Injectable, UseGuards } from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import type { RateLimitGuard } from '../guard/rate-limit.guard.js';
import type { ExploredMethod, Explorer } from '../policy/explorer.js';
import { guardsOf, isMessageHandler } from '../policy/routing.js';

/**
 * The token of the guard of message handlers. Each application provides its own guard under it; in one without the
 * module, Nest creates this class.
 */
@Injectable()
class MessageGuard implements CanActivate {
  canActivate(): boolean {
    return true;
  }
}

/**
 * Binds the guard to message handlers, after their own guards: Nest 10 and 11 run no global guards for gateways, and no
 * version does for a microservice that is connected without `inheritAppConfig`.
 */
export function bindToMessages(
  guard: RateLimitGuard,
  modules: ModulesContainer,
  explorer: Explorer,
  isLimited: (method: ExploredMethod) => boolean,
): void {
  const types = new Set<unknown>();
  for (const { type, methods } of explorer.classes) {
    for (const explored of methods) {
      const { method } = explored;
      if (!isMessageHandler(method) || !isLimited(explored)) continue;
      if (!guardsOf(method).includes(MessageGuard)) UseGuards(MessageGuard)(method);
      types.add(type);
    }
  }
  for (const module of modules.values()) {
    const hosted = [...module.controllers.values(), ...module.providers.values()];
    const isHost = hosted.some(({ metatype }) => types.has(metatype));
    if (isHost) module.addInjectable({ provide: MessageGuard, useValue: guard }, 'guard');
  }
}

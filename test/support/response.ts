import { EventEmitter } from 'node:events';
import type { ExecutionContext } from '@nestjs/common';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';

/** A response as far as guards and interceptors look at it. */
export class Response extends EventEmitter {
  destroyed = false;
  writableFinished = false;
  leave(): void {
    this.destroyed = true;
    this.emit('close');
  }
}

export function contextOf(response = new Response()): ExecutionContext {
  return new ExecutionContextHost([{}, response], class {}, () => {});
}

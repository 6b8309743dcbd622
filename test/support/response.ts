import { EventEmitter } from 'node:events';
import type { ExecutionContext } from '@nestjs/common';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';

/** The part of an HTTP response that guards and interceptors use. */
export class Response extends EventEmitter {
  destroyed = false;
  writableFinished = false;
  disconnect(): void {
    this.destroyed = true;
    this.emit('close');
  }
}

export function contextOf(response = new Response()): ExecutionContext {
  return new ExecutionContextHost([{}, response], class {}, () => {});
}

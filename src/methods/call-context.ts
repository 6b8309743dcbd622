import type { ArgumentsHost, ExecutionContext, Type } from '@nestjs/common';
import type { Handler } from '../policy/explorer.js';

/** The context of a call that is no request, for the functions and resolvers of its policies. Its type is `'method'`. */
export class CallContext implements ExecutionContext {
  constructor(
    private readonly type: Type,
    private readonly method: Handler,
    private readonly args: unknown[],
  ) {}

  getClass<T>(): Type<T> {
    return this.type;
  }

  getHandler(): Handler {
    return this.method;
  }

  getArgs<T extends unknown[]>(): T {
    return this.args as T;
  }

  getArgByIndex<T>(index: number): T {
    return this.args[index] as T;
  }

  getType<T extends string>(): T {
    return 'method' as T;
  }

  switchToHttp(): ReturnType<ArgumentsHost['switchToHttp']> {
    return {
      getRequest: () => this.args[0] as never,
      getResponse: () => this.args[1] as never,
      getNext: () => this.args[2] as never,
    };
  }

  switchToRpc(): ReturnType<ArgumentsHost['switchToRpc']> {
    return { getData: () => this.args[0] as never, getContext: () => this.args[1] as never };
  }

  switchToWs(): ReturnType<ArgumentsHost['switchToWs']> {
    return { getClient: () => this.args[0] as never, getData: () => this.args[1] as never, getPattern: () => '' };
  }
}

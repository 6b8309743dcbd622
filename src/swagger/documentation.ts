import { Inject, Injectable } from '@nestjs/common';
import { type ExploredClass, type ExploredMethod, Explorer } from '../policy/explorer.js';
import { PARSED_OPTIONS, type ParsedModuleOptions } from '../policy/parsed-options.js';
import { knownPolicies } from '../policy/plan-compiler.js';
import { API_RATE_LIMIT, type ApiRateLimitOptions } from './api-rate-limit.js';
import { documentClass, documentHandler, isDocumentedByUser } from './metadata.js';
import { responseOf } from './response.js';

/**
 * Adds the 429 response to the `@nestjs/swagger` metadata of limited handlers, unless the user has documented it. It
 * runs when the application is created: all decorators and options are known then, and no document is built yet.
 */
@Injectable()
export class Documentation {
  constructor(
    explorer: Explorer,
    @Inject(PARSED_OPTIONS) private readonly options: ParsedModuleOptions,
  ) {
    for (const found of explorer.classes) if (found.isController) this.document(found);
  }

  private document({ type, methods }: ExploredClass): void {
    if (isDocumentedByUser(type)) return;
    const handlers = methods.filter(({ method }) => Reflect.hasMetadata('path', method));
    const responses = handlers.map((handler) => this.responseOf(handler));
    const distinct = new Set(responses.map((response) => JSON.stringify(response)));
    // A response shared by all handlers goes to the class: subclasses may inherit the functions of the handlers.
    const common = distinct.size === 1 ? responses[0] : undefined;
    documentClass(type, common);
    for (const [i, { property, method }] of handlers.entries()) {
      if (isDocumentedByUser(method)) continue;
      documentHandler(type, property, common ? undefined : responses[i]);
    }
  }

  /** Returns the 429 response of a handler; `undefined` if it never rejects, or opted out. */
  private responseOf(handler: ExploredMethod): object | undefined {
    const custom: ApiRateLimitOptions | false | undefined =
      Reflect.getMetadata(API_RATE_LIMIT, handler.method) ?? Reflect.getMetadata(API_RATE_LIMIT, handler.type);
    const rejecting = knownPolicies(handler, this.options).filter((policy) => !policy?.dryRun && policy?.skip !== true);
    if (custom === false || (!custom && rejecting.length === 0)) return undefined;
    const { headers, problemDetails } = this.options;
    const messages = rejecting.map((policy) => policy?.message ?? this.options.message);
    return responseOf({ headers: rejecting.length > 0 ? headers : undefined, problemDetails, messages }, custom ?? {});
  }
}

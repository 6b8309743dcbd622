import { type ArgumentsHost, Catch, type ExceptionFilter, type Type } from '@nestjs/common';
import { BaseExceptionFilter, type HttpAdapterHost } from '@nestjs/core';
import { throwError } from 'rxjs';
import { ClientGoneError } from '../context/connection.js';
import { kindOf, typeOf } from '../context/readers.js';
import { RateLimitExceededException, RateLimitUnavailableException } from '../exceptions/rate-limit.exception.js';
import { graphql } from './graphql.js';
import { writeRetryAfter } from './headers.js';
import { messageBody } from './message.js';
import { problemOf } from './problem-details.js';
import { STORE_RETRY_AFTER } from './transport.js';

type Rejection = RateLimitExceededException | RateLimitUnavailableException;

/**
 * Answers rejections in the way of each transport, wherever they are thrown: the guard's are complete, but those of
 * `Bucket.consume` know nothing of the request. With `problemDetails` they are `application/problem+json` over HTTP.
 */
@Catch(RateLimitExceededException, RateLimitUnavailableException, ClientGoneError)
export class RejectionFilter extends BaseExceptionFilter {
  constructor(
    protected override readonly httpAdapterHost: HttpAdapterHost,
    private readonly problemDetails: boolean,
  ) {
    super();
  }

  override catch(exception: Rejection | ClientGoneError, host: ArgumentsHost): unknown {
    const kind = kindOf(host);
    if (exception instanceof ClientGoneError) return this.drop(exception, host);
    if (kind === 'http') return this.answer(exception, host);
    if (typeOf(host) === 'rpc') return throwError(() => messageOf(exception));
    // An exception with extensions comes from the guard. Without a result Nest rethrows it.
    if (kind !== 'graphql' || 'extensions' in exception) return undefined;
    return graphql.rejection((exception as RateLimitExceededException).decision, exception.message);
  }

  /** The client receives nothing, and Nest would log the error with its stack. */
  private drop(exception: ClientGoneError, host: ArgumentsHost): unknown {
    if (kindOf(host) === 'http') return super.catch(exception, host);
    return typeOf(host) === 'rpc' ? throwError(() => ({ status: 'error', message: exception.message })) : undefined;
  }

  private answer(exception: Rejection, host: ArgumentsHost): unknown {
    const { httpAdapter } = this.httpAdapterHost;
    const response = host.switchToHttp().getResponse<unknown>();
    if (httpAdapter.isHeadersSent(response)) return super.catch(exception, host);
    writeRetryAfter(retryAfterOf(exception), httpAdapter, response);
    if (!this.problemDetails) return super.catch(exception, host);
    httpAdapter.setHeader(response, 'Content-Type', 'application/problem+json');
    // A string, because Nest 11 on Express would send an object as application/json.
    return httpAdapter.reply(response, JSON.stringify(problemOf(exception)), exception.getStatus());
  }
}

/** The same for gateways, which global filters do not reach. */
@Catch(RateLimitExceededException, ClientGoneError)
class GatewayFilter implements ExceptionFilter {
  async catch(exception: RateLimitExceededException | ClientGoneError, host: ArgumentsHost): Promise<void> {
    if (exception instanceof ClientGoneError) return;
    const { BaseWsExceptionFilter, WsException } = await import('@nestjs/websockets');
    new BaseWsExceptionFilter().catch(new WsException(messageOf(exception)), host);
  }
}

const gatewayFilter = new GatewayFilter();
const GATEWAY = 'websockets:is_gateway';
const FILTERS = '__exceptionFilters__';

/** Binds the filter to a gateway, if `type` is one, before its own filters: Nest tries the last one first. */
export function bindToGateway(type: Type): void {
  const filters: unknown[] = Reflect.getMetadata(FILTERS, type) ?? [];
  if (!Reflect.hasMetadata(GATEWAY, type) || filters.includes(gatewayFilter)) return;
  Reflect.defineMetadata(FILTERS, [gatewayFilter, ...filters], type);
}

function messageOf(exception: Rejection): object {
  return messageBody(exception.message, retryAfterOf(exception));
}

function retryAfterOf(exception: Rejection): number {
  return exception instanceof RateLimitExceededException ? exception.decision.retryAfter : STORE_RETRY_AFTER;
}

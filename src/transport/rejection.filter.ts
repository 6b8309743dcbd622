import { type ArgumentsHost, Catch, type ExceptionFilter, type Type } from '@nestjs/common';
import { BaseExceptionFilter, type HttpAdapterHost } from '@nestjs/core';
import { throwError } from 'rxjs';
import { RateLimitExceededException, RateLimitUnavailableException } from '../exceptions/rate-limit.exception.js';
import { graphql } from './graphql.js';
import { writeRetryAfter } from './headers.js';
import { answerOf } from './message.js';
import { problemOf } from './problem-details.js';
import { RETRY_STORE } from './transport.js';

type Refusal = RateLimitExceededException | RateLimitUnavailableException;

/**
 * Answers refusals in the way of each transport, whoever throws them: the guard's are complete already, but those of
 * `Bucket.consume` know nothing of the request. With `problemDetails` they are `application/problem+json` over HTTP.
 */
@Catch(RateLimitExceededException, RateLimitUnavailableException)
export class RefusalFilter extends BaseExceptionFilter {
  constructor(
    protected override readonly httpAdapterHost: HttpAdapterHost,
    private readonly problemDetails: boolean,
  ) {
    super();
  }

  override catch(exception: Refusal, host: ArgumentsHost): unknown {
    const type = host.getType<string>();
    if (type === 'http') return this.answer(exception, host);
    if (type === 'rpc') return throwError(() => messageOf(exception));
    // What has extensions is of the guard. Without a result Nest throws it on.
    if (type !== 'graphql' || 'extensions' in exception) return undefined;
    return graphql.refusal((exception as RateLimitExceededException).decision, exception.message);
  }

  private answer(exception: Refusal, host: ArgumentsHost): unknown {
    const { httpAdapter } = this.httpAdapterHost;
    const response = host.switchToHttp().getResponse<unknown>();
    if (httpAdapter.isHeadersSent(response)) return super.catch(exception, host);
    writeRetryAfter(retryAfterOf(exception), httpAdapter, response);
    if (!this.problemDetails) return super.catch(exception, host);
    httpAdapter.setHeader(response, 'Content-Type', 'application/problem+json');
    // A text, because Nest 11 on Express would call an object application/json.
    return httpAdapter.reply(response, JSON.stringify(problemOf(exception)), exception.getStatus());
  }
}

/** The same for gateways, of which global filters hear nothing. */
@Catch(RateLimitExceededException)
class GatewayFilter implements ExceptionFilter {
  async catch(exception: RateLimitExceededException, host: ArgumentsHost): Promise<void> {
    const { BaseWsExceptionFilter, WsException } = await import('@nestjs/websockets');
    new BaseWsExceptionFilter().catch(new WsException(messageOf(exception)), host);
  }
}

const gatewayFilter = new GatewayFilter();
const GATEWAY = 'websockets:is_gateway';
const FILTERS = '__exceptionFilters__';

/** Binds the filter to a gateway, if it is one, in front of its own filters: Nest asks the last first. */
export function bindToGateway(type: Type): void {
  const filters: unknown[] = Reflect.getMetadata(FILTERS, type) ?? [];
  if (!Reflect.hasMetadata(GATEWAY, type) || filters.includes(gatewayFilter)) return;
  Reflect.defineMetadata(FILTERS, [gatewayFilter, ...filters], type);
}

function messageOf(exception: Refusal): object {
  return answerOf(exception.message, retryAfterOf(exception));
}

function retryAfterOf(exception: Refusal): number {
  return exception instanceof RateLimitExceededException ? exception.decision.retryAfter : RETRY_STORE;
}

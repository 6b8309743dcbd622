import { type ArgumentsHost, Catch, type ExceptionFilter, type Type } from '@nestjs/common';
import { BaseExceptionFilter, type HttpAdapterHost } from '@nestjs/core';
import { ClientGoneError } from '../context/connection.js';
import { kindOf } from '../context/readers.js';
import {
  RateLimitExceededException,
  RateLimitUnavailableException,
  type Rejection,
} from '../exceptions/rate-limit.exception.js';
import { messageOf } from './message.js';
import { transportOf } from './transports.js';

/**
 * Answers rejections in the way of each transport, wherever they are thrown: the guard's are complete, but those of
 * `Bucket.consume` know nothing of the request. Over HTTP they are completed when they are sent: `completeRejections`.
 */
@Catch(RateLimitExceededException, RateLimitUnavailableException, ClientGoneError)
export class RejectionFilter extends BaseExceptionFilter {
  constructor(protected override readonly httpAdapterHost: HttpAdapterHost) {
    super();
  }

  override catch(exception: Rejection | ClientGoneError, host: ArgumentsHost): unknown {
    if (kindOf(host) !== 'http') return transportOf(host).answerThrown?.(exception);
    return super.catch(exception, host);
  }
}

/** The same for gateways, which global filters do not reach. */
@Catch(RateLimitExceededException, RateLimitUnavailableException, ClientGoneError)
class GatewayFilter implements ExceptionFilter {
  async catch(exception: Rejection | ClientGoneError, host: ArgumentsHost): Promise<void> {
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

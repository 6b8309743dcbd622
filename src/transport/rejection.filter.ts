import { type ArgumentsHost, Catch, type ExceptionFilter, type Type } from '@nestjs/common';
import { BaseExceptionFilter, type HttpAdapterHost } from '@nestjs/core';
import { ClientGoneError } from '../context/connection.js';
import { kindOf } from '../context/readers.js';
import {
  MissingHeaderException,
  RateLimitExceededException,
  RateLimitUnavailableException,
} from '../exceptions/rate-limit.exception.js';
import { GuardException } from './message.js';
import type { Thrown } from './transport.js';
import { transportOf } from './transports.js';

const CAUGHT = [
  RateLimitExceededException,
  RateLimitUnavailableException,
  MissingHeaderException,
  ClientGoneError,
  GuardException,
];

/**
 * Answers rejections in the way of each transport, wherever they are thrown: the guard's are complete, but those of
 * `Bucket.consume` know nothing of the request. Over HTTP they are completed when they are sent: `completeRejections`.
 */
@Catch(...CAUGHT)
export class RejectionFilter extends BaseExceptionFilter {
  constructor(protected override readonly httpAdapterHost: HttpAdapterHost) {
    super();
  }

  override catch(exception: Thrown, host: ArgumentsHost): unknown {
    if (kindOf(host) !== 'http') return answerThrown(exception, host);
    return super.catch(exception, host);
  }
}

function answerThrown(exception: Thrown, host: ArgumentsHost): unknown {
  return transportOf(host).answerThrown?.(exception, host);
}

/** The same where global filters do not reach, or not always. */
@Catch(...CAUGHT)
class BoundFilter implements ExceptionFilter {
  catch(exception: Thrown, host: ArgumentsHost): unknown {
    return answerThrown(exception, host);
  }
}

const boundFilter = new BoundFilter();
/** Where Nest keeps the arguments of `@UseFilters`. */
const FILTERS = '__exceptionFilters__';
const GATEWAY = 'websockets:is_gateway';
const PATTERNS = 'microservices:pattern';

/** Binds the filter to a gateway, if `type` is one: global filters do not reach gateways. */
export function bindToGateway(type: Type): void {
  if (Reflect.hasMetadata(GATEWAY, type)) bindFilter(type);
}

/**
 * Binds the filter to a handler of `@GrpcStreamCall`, if `method` is one: it answers its call itself, so if no filter
 * does so instead, the call is never answered, and the error ends the process.
 */
export function bindToStreamCall(method: object): void {
  const patterns: readonly ({ readonly streaming?: unknown } | null | undefined)[] =
    Reflect.getMetadata(PATTERNS, method) ?? [];
  if (patterns.some((pattern) => pattern?.streaming === 'pt_stream')) bindFilter(method);
}

/** Before the target's own filters: Nest tries the last one first. */
function bindFilter(target: object): void {
  const filters: unknown[] = Reflect.getMetadata(FILTERS, target) ?? [];
  if (!filters.includes(boundFilter)) Reflect.defineMetadata(FILTERS, [boundFilter, ...filters], target);
}

import type { ExecutionContext } from '@nestjs/common';
import { throwError } from 'rxjs';
import { MissingHeaderException } from '../exceptions/rate-limit.exception.js';
import { isKafka, pauseUntilRetry } from './kafka.js';
import { type Encode, encodedAnswer, messageBody, messageTransport } from './message.js';
import type { Transport } from './transport.js';

const encode: Encode = (answer, host) => {
  pauseUntilRetry(host, answer.retryAfter);
  return messageBody(answer);
};

/** Where Nest keeps whether a handler is one of events, and its value for them. */
const HANDLER_TYPE = 'microservices:handler_type';
const EVENT = 2;

function unansweredHint(context: ExecutionContext): string | undefined {
  const broker = context.getArgByIndex<{ readonly getChannelRef?: unknown } | null | undefined>(1);
  if (isKafka(broker)) return undefined;
  // Guards do not know how RabbitMQ's queue is consumed.
  if (typeof broker?.getChannelRef === 'function') {
    return 'with `noAck: false`, acknowledge denied messages in `onLimited`, or they block their consumer';
  }
  if (Reflect.getMetadata(HANDLER_TYPE, context.getHandler()) !== EVENT) return undefined;
  return 'denied events may be lost: queue them with `maxWait`, or handle them in `onLimited`';
}

/** Microservices. */
export const rpc: Transport = {
  ...messageTransport(async () => (await import('@nestjs/microservices')).RpcException, encode),

  unansweredHint,

  // Nest answers the guard's exceptions alike, but logs an error for each of an event if no filter catches it.
  answerThrown(exception, host) {
    // Headers in the data of a message are written by a service. Nest logs that they are missing.
    if (exception instanceof MissingHeaderException) return undefined;
    return throwError(() => encodedAnswer(exception, host, encode));
  },
};

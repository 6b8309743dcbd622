import type { ExecutionContext, HttpServer } from '@nestjs/common';
import { typeOf } from '../context/readers.js';
import { toDecision } from '../core/answer.js';
import type { Decision, StoreAnswer } from '../core/decision.js';
import { RateLimitStoreError } from '../exceptions/rate-limit-store.error.js';
import { failures } from '../observe/channels.js';
import { logger, warnOnce } from '../observe/logger.js';
import { RejectionLog } from '../observe/rejection-log.js';
import type { ParsedModuleOptions } from '../policy/parsed-options.js';
import { type RequestTake, resolveMessage } from '../policy/request-take.js';
import { transportOf } from '../transport/transports.js';
import { chain, isPromise } from '../util/maybe-promise.js';
import { canReplaceResult, replaceResult } from './rate-limit.interceptor.js';

/** Shared by all guards, so that each policy logs at most one line per minute. */
export const rejections = new RejectionLog((line) => logger.log(line));

/** Rejects a denied request, unless `onLimited` of the policy or the module has another answer. */
export function rejectDenied(
  context: ExecutionContext,
  takes: readonly RequestTake[],
  answer: StoreAnswer,
  options: ParsedModuleOptions,
  adapter: HttpServer,
): void | Promise<void> {
  rejections.note(answer.policy);
  const decision = toDecision(answer);
  const policy = takes.find((take) => take.policy.labels.includes(answer.policy))?.requestPolicy;
  const message = policy?.message ?? options.message;
  const onLimited = policy?.onLimited ?? options.onLimited;
  if (!onLimited) warnIfUnanswered(context, answer.policy);
  if (!onLimited || !canReplaceResult(context, transportOf(context))) return throwRejection(context, message, decision);
  return chain(onLimited(context, decision), (value) =>
    value === undefined ? throwRejection(context, message, decision) : replaceResult(context, value, adapter),
  );
}

/** Rejects a request that the store did not decide. Other errors are thrown as they are. */
export function rejectUnavailable(
  context: ExecutionContext,
  takes: readonly RequestTake[],
  error: unknown,
  adapter: HttpServer,
): Promise<never> {
  if (!(error instanceof RateLimitStoreError)) throw error;
  const [{ policy }] = takes;
  if (failures.hasSubscribers) failures.publish({ policy: policy.name, transport: typeOf(context), error });
  const unavailable = transportOf(context).unavailable(context, error, adapter);
  if (!isPromise(unavailable)) throw unavailable;
  return unavailable.then(rethrow);
}

function throwRejection(
  context: ExecutionContext,
  message: ParsedModuleOptions['message'],
  decision: Decision,
): Promise<never> {
  const error = chain(resolveMessage(message, context, decision), (resolved) =>
    transportOf(context).rejection(decision, resolved, context),
  );
  if (!isPromise(error)) throw error;
  return error.then(rethrow);
}

/** An event has no sender that learns of its rejection. */
function warnIfUnanswered(context: ExecutionContext, policy: string): void {
  const hint = transportOf(context).unansweredHint?.(context);
  if (hint) warnOnce.about(`unanswered by ${policy}`, `Policy ${policy} denied a message: ${hint}`);
}

function rethrow(error: Error): never {
  throw error;
}

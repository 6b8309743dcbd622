import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { Decision } from '../core/decision.js';

/**
 * Reports what a request has cost so far, in tokens; it replaces the previous report. It throws a `RangeError` if
 * `total` is not a number of at least 0, or if no limit of the handler has the name `limit`.
 */
export type ReportCost = (total: number, limit?: string) => void;

/** An admitted request, as far as handlers see it. */
export interface AdmittedRequest {
  readonly decision: Decision;
  readonly report: ReportCost;
}

/** A parameter of a handler that is injected here. */
export type HandlerParameter = 'cost' | 'decision';

/** Metadata key of the injected parameters of a method. A global symbol, like those of other decorators. */
const PARAMETERS = Symbol.for('nest-rate-limit:parameters');

/**
 * Injects a function into a handler's parameter, which reports the real cost of the request: `report(total)`, or
 * `report(total, 'tokens')` for the limits or policies of that name.
 *
 * A total without a name is that of all limits with a `cost` or `settle`, or of all limits if there are none with these.
 * When both the response and the handler have ended, the last total replaces the estimate, `cost`, and takes precedence
 * over `settle`; without a report they decide. Of later reports, an increase is charged and a decrease is
 * ignored. On a handler without a limit, the function does nothing.
 *
 * ```ts
 * @RateLimit({ capacity: 10_000, refill: 10_000, unit: 'minutes', cost: 500 })
 * @Post('completions')
 * async complete(@ReportCost() report: ReportCost) {
 *   const { text, tokens } = await model.complete();
 *   report(tokens);
 *   return text;
 * }
 * ```
 */
export function ReportCost(): ParameterDecorator {
  return parameter('cost', injectReport());
}

/**
 * Injects the decision that admitted the request into a handler's parameter; `undefined` if no limit applies to it.
 *
 * ```ts
 * @RateLimit({ capacity: 100, refill: 1 })
 * @Get('search')
 * search(@RateLimitDecision() decision: Decision | undefined) {
 *   return { results: [], remaining: decision?.remaining };
 * }
 * ```
 */
export function RateLimitDecision(): ParameterDecorator {
  return parameter('decision', injectDecision());
}

const injectReport = createParamDecorator((_: unknown, context) => takeAdmitted(context)?.report ?? reportNothing);
const injectDecision = createParamDecorator((_: unknown, context) => takeAdmitted(context)?.decision);

function reportNothing(): void {}

function parameter(kind: HandlerParameter, decorate: ParameterDecorator): ParameterDecorator {
  return (target, property, index) => {
    decorate(target, property, index);
    if (property === undefined) return;
    Reflect.defineMetadata(PARAMETERS, [kind, ...parametersOf(target, property)], target, property);
  };
}

/** The injected parameters of a method. */
export function parametersOf(prototype: object, property: string | symbol): readonly HandlerParameter[] {
  return Reflect.getMetadata(PARAMETERS, prototype, property) ?? [];
}

/** A call of a handler whose parameters are about to be resolved. */
interface PendingCall {
  readonly args: readonly unknown[];
  readonly request: AdmittedRequest;
  /** How many parameters have not been injected yet. */
  missing: number;
}

/**
 * The pending calls, by one of their arguments. Nest resolves parameters from a copy of the arguments that the guard and
 * the interceptor have seen, so the calls are recognized by all of their arguments. Only messages of one client with
 * equal primitive data cannot be distinguished: those are resolved in the order in which their handlers are called.
 */
const pending = new WeakMap<object, PendingCall[]>();

/** Provides the parameters of a call that is about to begin. Returns a function that withdraws them. */
export function provideParameters(args: readonly unknown[], request: AdmittedRequest, count: number): () => void {
  const anchor = anchorOf(args);
  if (!anchor) return () => {};
  const call = { args, request, missing: count };
  const calls = pending.get(anchor) ?? [];
  calls.push(call);
  pending.set(anchor, calls);
  return () => remove(anchor, call);
}

function takeAdmitted(context: ExecutionContext): AdmittedRequest | undefined {
  const args = context.getArgs<unknown[]>();
  const anchor = anchorOf(args);
  const call = anchor && pending.get(anchor)?.find((one) => one.args.every((arg, i) => arg === args[i]));
  if (!call) return undefined;
  call.missing--;
  if (call.missing === 0) remove(anchor, call);
  return call.request;
}

function remove(anchor: object, call: PendingCall): void {
  const calls = pending.get(anchor)?.filter((one) => one !== call) ?? [];
  if (calls.length > 0) pending.set(anchor, calls);
  else pending.delete(anchor);
}

/** The last argument that can be a key: most kinds of calls have one of their own. */
function anchorOf(args: readonly unknown[]): object | undefined {
  return args.findLast((arg): arg is object => typeof arg === 'function' || (typeof arg === 'object' && arg !== null));
}

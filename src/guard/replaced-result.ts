import { type ExecutionContext, StreamableFile } from '@nestjs/common';
import { defaultIfEmpty, isObservable, type Observable, of, takeLast, tap } from 'rxjs';
import { areHeadersSent } from '../context/answered.js';
import { responseOf } from '../context/http.js';
import { kindOf } from '../context/readers.js';
import { propertyOf } from '../policy/explorer.js';

/** Nest's HTTP adapter: the one method of it that is called here. */
export interface Replier {
  reply(response: unknown, body: unknown, status?: number): unknown;
}

/** A response of Express or Fastify. */
type Response = Record<string, unknown> & { readonly statusCode: number };

/**
 * The result that replaces that of a handler. Nest sends it, except over HTTP if the handler itself writes the response,
 * redirects or renders a template: then it is sent here.
 */
export function replacedResult(context: ExecutionContext, value: unknown, adapter: Replier): Observable<unknown> {
  const values = isObservable(value) ? value : of(value);
  const send = kindOf(context) === 'http' ? senderOf(context) : undefined;
  if (!send) return values;
  const response = responseOf<Response>(context);
  // The last value, as Nest does.
  return values.pipe(
    takeLast(1),
    defaultIfEmpty(undefined),
    tap((last) => send(response, last, adapter)),
  );
}

type Send = (response: Response, value: unknown, adapter: Replier) => void;

/** What sends a result in place of Nest; `undefined` if Nest sends it. */
function senderOf(context: ExecutionContext): Send | undefined {
  const handler = context.getHandler();
  if (Reflect.hasMetadata('__renderTemplate__', handler)) return sendUnrendered;
  if (Reflect.hasMetadata('__redirect__', handler)) return sendWithoutRedirect;
  if (Reflect.hasMetadata('__sse__', handler)) return undefined;
  return writesResponse(context.getClass(), propertyOf(handler) ?? handler.name) ? sendNow : undefined;
}

/** Whether a handler has a parameter with `@Res()`, unless with `passthrough`, or with `@Next()`: types 1 and 2. */
function writesResponse(type: object, property: string): boolean {
  const parameters: object = Reflect.getMetadata('__routeArguments__', type, property) ?? {};
  if (!Object.keys(parameters).some((key) => /^[12]:/.test(key))) return false;
  return !Reflect.getMetadata('__responsePassthrough__', type, property);
}

function sendNow(response: Response, value: unknown, adapter: Replier): void {
  if (!areHeadersSent(response)) adapter.reply(response, value);
}

/** A value with `url` redirects to it. */
function sendWithoutRedirect(response: Response, value: unknown, adapter: Replier): void {
  if (!(value as { url?: unknown } | null | undefined)?.url) sendInsteadOf(['redirect'], response, value, adapter);
}

/** An object is rendered as the data of the template. */
function sendUnrendered(response: Response, value: unknown, adapter: Replier): void {
  const isFile = value instanceof StreamableFile || value instanceof Uint8Array || Array.isArray(value);
  const isData = typeof value === 'object' && value !== null && !isFile;
  if (!isData) sendInsteadOf(['render', 'view'], response, value, adapter);
}

/** Sends the value when Nest calls one of these methods of the response, behind all interceptors. */
function sendInsteadOf(methods: readonly string[], response: Response, value: unknown, adapter: Replier): void {
  const { statusCode } = response;
  const send = () => {
    for (const method of methods) delete response[method];
    return adapter.reply(response, value, statusCode);
  };
  for (const method of methods) response[method] = send;
}

import { RequestMethod, type Type } from '@nestjs/common';

/*
 * Writes the metadata that `@nestjs/swagger` reads from handlers and classes. It does not import `@nestjs/swagger`,
 * which stays optional; tests verify the metadata keys.
 */

const RESPONSES = 'swagger/apiResponse';
const PLUGIN = '_OPENAPI_METADATA_FACTORY';
const STATUS = '__httpCode__';
const METHOD = 'method';
const TOO_MANY_REQUESTS = 429;

type Responses = Record<string, object>;

/** Responses written by this package, also for an earlier application, as opposed to the user's own. */
const written = new WeakSet<object>();

/** Returns whether the user has documented the 429 response of a class or handler. */
export function isDocumentedByUser(target: object): boolean {
  const response = (Reflect.getMetadata(RESPONSES, target) as Responses | undefined)?.[TOO_MANY_REQUESTS];
  return response !== undefined && !written.has(response);
}

/**
 * Documents the 429 response of all handlers of a class; without `response`, removes what was written before. A
 * response of the handler itself takes precedence.
 */
export function documentClass(type: Type, response: object | undefined): void {
  write(type, response, () => ({}));
}

/** Documents the 429 response of one handler; without `response`, removes what was written before. */
export function documentHandler(type: Type, name: string, response: object | undefined): void {
  const handler = type.prototype[name] as object;
  write(handler, response, () => successResponse(type, name, handler));
}

function write(target: object, response: object | undefined, defaults: () => Responses): void {
  const responses = Reflect.getMetadata(RESPONSES, target) as Responses | undefined;
  if (!response && !responses?.[TOO_MANY_REQUESTS]) return;
  // Copies the property descriptors, so that getters stay lazy.
  const all: Responses = Object.defineProperties({}, Object.getOwnPropertyDescriptors(responses ?? defaults()));
  delete all[TOO_MANY_REQUESTS];
  if (response) {
    written.add(response);
    all[TOO_MANY_REQUESTS] = response;
  }
  Reflect.defineMetadata(RESPONSES, all, target);
}

/**
 * Returns the success response that `@nestjs/swagger` documents by default, with the type found by its compiler plugin.
 * The package omits both as soon as a response is documented. It is a getter because the plugin's metadata may be
 * added later.
 */
function successResponse(type: Type, name: string, handler: object): Responses {
  const defaultStatus = Reflect.getMetadata(METHOD, handler) === RequestMethod.POST ? 201 : 200;
  const status: number = Reflect.getMetadata(STATUS, handler) ?? defaultStatus;
  const get = () => ({ description: '', ...pluginResponse(type, name) });
  return Object.defineProperty({}, status, { get, enumerable: true, configurable: true });
}

interface PluginMetadata {
  readonly type?: unknown;
  readonly [option: string]: unknown;
}

/** Returns the response options that the compiler plugin found for a handler or the one it inherits. */
function pluginResponse(type: Type, name: string): object | undefined {
  for (let owner = type.prototype; owner && owner !== Object.prototype; owner = Object.getPrototypeOf(owner)) {
    const factory = owner.constructor[PLUGIN] as (() => Record<string, PluginMetadata | undefined>) | undefined;
    const found = factory?.()[name];
    if (!found) continue;
    const { summary: _summary, deprecated: _deprecated, tags: _tags, status: _status, type: of, ...others } = found;
    return Array.isArray(of) ? { ...others, type: of[0], isArray: true } : { ...others, type: of, isArray: false };
  }
}

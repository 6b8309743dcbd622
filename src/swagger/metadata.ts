import { RequestMethod, type Type } from '@nestjs/common';

/*
 * What `@nestjs/swagger` reads from handlers and classes. It is written without importing the package, so that nobody
 * needs it who does not use it; a test looks after the keys.
 */

const RESPONSES = 'swagger/apiResponse';
const PLUGIN = '_OPENAPI_METADATA_FACTORY';
const STATUS = '__httpCode__';
const METHOD = 'method';
const REFUSAL = 429;

type Responses = Record<string, object>;

/** Responses that were written here, as opposed to the user's; another application may have begun before. */
const written = new WeakSet<object>();

/** Whether the user has documented the refusals of a class or handler. */
export function isDocumented(target: object): boolean {
  const there = (Reflect.getMetadata(RESPONSES, target) as Responses | undefined)?.[REFUSAL];
  return there !== undefined && !written.has(there);
}

/** Documents the refusals of all handlers of a class, or takes back what was written. What a handler says goes first. */
export function documentClass(type: Type, response: object | undefined): void {
  write(type, response, () => ({}));
}

/** The same for one handler. */
export function documentHandler(type: Type, name: string, response: object | undefined): void {
  const handler = type.prototype[name] as object;
  write(handler, response, () => success(type, name, handler));
}

function write(target: object, response: object | undefined, otherwise: () => Responses): void {
  const responses = Reflect.getMetadata(RESPONSES, target) as Responses | undefined;
  if (!response && !responses?.[REFUSAL]) return;
  // By descriptors, so that what is told only when it is read stays so.
  const all: Responses = Object.defineProperties({}, Object.getOwnPropertyDescriptors(responses ?? otherwise()));
  delete all[REFUSAL];
  if (response) {
    written.add(response);
    all[REFUSAL] = response;
  }
  Reflect.defineMetadata(RESPONSES, all, target);
}

/**
 * What would be told of a handler of which nothing is documented: that it succeeds, and what the compiler plugin found
 * out. With one response documented, the package would tell neither. The plugin may come later, so this is told when it
 * is read.
 */
function success(type: Type, name: string, handler: object): Responses {
  const usual = Reflect.getMetadata(METHOD, handler) === RequestMethod.POST ? 201 : 200;
  const status: number = Reflect.getMetadata(STATUS, handler) ?? usual;
  const get = () => ({ description: '', ...foundByPlugin(type, name) });
  return Object.defineProperty({}, status, { get, enumerable: true, configurable: true });
}

interface PluginMetadata {
  readonly type?: unknown;
  readonly [option: string]: unknown;
}

function foundByPlugin(type: Type, name: string): object | undefined {
  for (let owner = type.prototype; owner && owner !== Object.prototype; owner = Object.getPrototypeOf(owner)) {
    const factory = owner.constructor[PLUGIN] as (() => Record<string, PluginMetadata | undefined>) | undefined;
    const found = factory?.()[name];
    if (!found) continue;
    const { summary: _summary, deprecated: _deprecated, tags: _tags, status: _status, type: of, ...others } = found;
    return Array.isArray(of) ? { ...others, type: of[0], isArray: true } : { ...others, type: of, isArray: false };
  }
}

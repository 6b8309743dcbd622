import { RequestMethod, type Type } from '@nestjs/common';
import { logger } from '../observe/logger.js';
import { RateLimitOptionError } from '../util/option-error.js';
import type { ExploredClass, Handler } from './explorer.js';

type Naming = (explored: ExploredClass) => string;

const inModule: Naming = ({ type, moduleName }) => `${moduleName}.${type.name}`;

/** The names of a class, from the shortest to the most specific: what a minifier leaves are the routes. */
const NAMINGS: readonly Naming[] = [
  ({ type }) => type.name,
  inModule,
  (explored) => `${inModule(explored)}(${pathOf(explored.type)})`,
  (explored) => `${inModule(explored)}(${routeOf(explored)})`,
];

/**
 * Names classes, because policies without a name are named after theirs. The names are unique in the application, and
 * depend neither on the order of the classes nor on the process. Throws if that is impossible for an unnamed policy.
 */
export function nameClasses(
  classes: readonly ExploredClass[],
  hasUnnamedPolicy: (explored: ExploredClass) => boolean,
): Map<Type, string> {
  const names = new Map<Type, string>();
  let ambiguous = [classes];
  for (const naming of NAMINGS) {
    for (const explored of ambiguous.flat()) names.set(explored.type, naming(explored));
    ambiguous = ambiguous.flatMap((group) => duplicatesBy(naming, group));
  }
  for (const group of ambiguous) {
    if (!group.some(hasUnnamedPolicy)) continue;
    const [explored] = group;
    const { type, moduleName } = explored;
    const route = routeOf(explored) && ` with the route ${routeOf(explored)}`;
    throw new RateLimitOptionError(
      `Invalid @RateLimit on ${type.name}: ${moduleName} has two classes of this name${route}; give their policies a \`name\``,
    );
  }
  return names;
}

/** The groups of classes that have one name. */
function duplicatesBy(naming: Naming, classes: readonly ExploredClass[]): ExploredClass[][] {
  const groups = new Map<string, ExploredClass[]>();
  for (const explored of classes) {
    const name = naming(explored);
    groups.set(name, [...(groups.get(name) ?? []), explored]);
  }
  return [...groups.values()].filter((group) => group.length > 1);
}

/** The path of a controller and its version, or the namespace of a gateway. */
function pathOf(type: Type): string {
  const { namespace } = Object(Reflect.getMetadata('websockets:gateway_options', type));
  const path = [Reflect.getMetadata('path', type)].flat().map((part) => part || '/');
  const parts = [namespace ?? path, Reflect.getMetadata('__version__', type)];
  return asText(parts.filter((part) => part !== undefined).flat());
}

/** The first route of a class, such as `GET users/:id`, or the pattern of its first message; empty if it has none. */
function routeOf({ type, methods }: ExploredClass): string {
  const routes = methods.map(({ method }) => messageOf(method) ?? requestOf(type, method));
  return routes.find((route) => route !== undefined) ?? '';
}

function messageOf(method: Handler): string | undefined {
  const pattern = Reflect.getMetadata('microservices:pattern', method) ?? Reflect.getMetadata('message', method);
  return pattern === undefined ? undefined : asText([pattern].flat());
}

function requestOf(type: Type, method: Handler): string | undefined {
  const path = Reflect.getMetadata('path', method);
  if (path === undefined) return undefined;
  const verb = RequestMethod[Reflect.getMetadata('method', method)];
  return `${verb} ${asText([Reflect.getMetadata('path', type), path].flat().filter((part) => part && part !== '/'))}`;
}

/** Parts of a name: printable ASCII. */
function asText(parts: readonly unknown[]): string {
  return parts
    .map((part) => encodeURI(typeof part === 'string' ? part : (JSON.stringify(part) ?? String(part))))
    .join('/');
}

/** How minifiers name classes. */
const MINIFIED = /^[a-z_$][\w$]?$/;
const MOST_NAMES = 5;

/** Warns if policies are named after minified classes: each build may give their buckets in a store other keys. */
export function warnOfMinified(classes: readonly ExploredClass[]): void {
  const names = classes.map(({ type }) => type.name).filter((name) => MINIFIED.test(name));
  if (names.length === 0) return;
  logger.warn(
    `Policies without a \`name\` are named after their classes, whose names are minified (${names.slice(0, MOST_NAMES).join(', ')}): ` +
      'after another build, their buckets in the store may have other keys. Set `name`, or keep the names of classes: ' +
      '`keep_classnames` of Terser and SWC, `keepNames` of esbuild',
  );
}

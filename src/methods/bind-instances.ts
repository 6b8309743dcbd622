import { type LimitedInstance, METHOD_CALLS } from '../policy/limited-method.js';
import { chain } from '../util/maybe-promise.js';
import { RateLimitOptionError } from '../util/option-error.js';
import type { MethodRuntime } from './method-runtime.js';

type Factory = (...args: unknown[]) => unknown;

/** A module of Nest. */
interface Host {
  readonly name: string;
  readonly isGlobal: boolean;
  readonly imports: ReadonlySet<unknown>;
}

/** Nest's `InstanceWrapper`, as far as it is used. */
interface Wrapper {
  readonly host?: Host;
  isDependencyTreeStatic(): boolean;
  readonly isFactory?: unknown;
  metatype: unknown;
  readonly instance?: unknown;
  readonly isTransient?: boolean;
  getStaticTransientInstances?(): ({ readonly instance?: unknown } | undefined)[];
}

/** Binds what factories will return: into their instances Nest injects nothing. */
export function bindFactories(wrappers: readonly unknown[], runtime: MethodRuntime): void {
  for (const wrapper of wrappers as readonly Wrapper[]) {
    const factory = wrapper.metatype;
    if (!wrapper.isFactory || typeof factory !== 'function') continue;
    wrapper.metatype = (...args: unknown[]) =>
      chain((factory as Factory)(...args), (instance) => {
        bind(instance, runtime);
        return instance;
      });
  }
}

/** Binds all instances that exist. Throws a `RateLimitOptionError` if one cannot be bound: its calls would be unlimited. */
export function bindInstances(wrappers: readonly unknown[], runtime: MethodRuntime): void {
  for (const wrapper of wrappers as readonly Wrapper[]) {
    bind(wrapper.instance, runtime);
    if (!wrapper.isTransient) continue;
    for (const each of wrapper.getStaticTransientInstances?.() ?? []) bind(each?.instance, runtime);
  }
}

/** Throws if instances that do not exist yet will be unlimited, because their module does not import that of `forRoot`. */
export function checkVisible(wrappers: readonly unknown[], runtime: MethodRuntime): void {
  const all = wrappers as readonly Wrapper[];
  const home = all.find(({ instance }) => instance === runtime)?.host;
  if (!home || home.isGlobal) return;
  for (const wrapper of all) {
    const { metatype, host } = wrapper;
    if (wrapper.isFactory || typeof metatype !== 'function' || !isLimited(metatype.prototype)) continue;
    if (!host || host === home || host.imports.has(home) || wrapper.isDependencyTreeStatic()) continue;
    throw new RateLimitOptionError(
      `Invalid @RateLimit on methods of ${metatype.name}: a module whose providers are created per request must import ` +
        `RateLimitModule, got ${host.name}. Import the module in it, or omit \`isGlobal: false\``,
    );
  }
}

function bind(instance: unknown, runtime: MethodRuntime): void {
  if (!isLimited(instance)) return;
  const bound = instance[METHOD_CALLS] as MethodRuntime | undefined;
  if (bound === runtime) return;
  const { name } = instance.constructor;
  if (bound && !bound.isClosed) {
    throw new RateLimitOptionError(
      `Invalid @RateLimit on methods of ${name}: two applications share one instance, got the second one. Create an ` +
        'instance for each of them, for example with `useFactory`',
    );
  }
  if (Object.isExtensible(instance)) instance[METHOD_CALLS] = runtime;
  if (instance[METHOD_CALLS] === runtime) return;
  throw new RateLimitOptionError(
    `Invalid @RateLimit on methods of ${name}: their calls can only be limited on an instance that can be extended, got ` +
      'a frozen one. Do not freeze or seal it',
  );
}

function isLimited(instance: unknown): instance is LimitedInstance {
  return typeof instance === 'object' && instance !== null && METHOD_CALLS in instance;
}

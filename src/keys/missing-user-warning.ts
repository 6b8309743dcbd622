import type { ExecutionContext } from '@nestjs/common';
import { onClose, responseConnection } from '../context/connection.js';
import { warnOnce } from '../observe/logger.js';

const FIX =
  'If a guard sets `user`, it must run before RateLimitGuard: import the module that provides it as APP_GUARD before ' +
  'RateLimitModule. If it is bound with @UseGuards, set RateLimitModule.forRoot({ guard: false }), and bind ' +
  '@UseGuards(AuthGuard, RateLimitGuard)';

/** The keys that watch for users themselves. */
const watched = new WeakSet<object>();

/** Warns once about a function of the application for `key` that mentions a user, and returned no key. */
export function warnOfKeyWithoutUser(policy: string, key: object): void {
  if (watched.has(key) || !mentionsUser(key)) return;
  warnOnce.about(key, `Policy ${policy}: \`key\` returned nothing, and its function mentions a user. ${FIX}`);
}

/** Warns once about a resolver of policies that mentions a user, and returned no policy. `subject` names the resolver. */
export function warnOfResolverWithoutUser(subject: string, resolver: object): void {
  if (!mentionsUser(resolver)) return;
  warnOnce.about(resolver, `${subject} returned no policy, and it mentions a user. ${FIX}`);
}

/** Whether the source of a function or class does. */
const mentionsUser = (source: object): boolean => /user/i.test(String(source));

/** Watches the first requests without a user, and warns once about a guard that sets it too late. */
export class MissingUserWarning {
  private checksLeft = 100;

  /** `objectOf` finds the user of a request, and `userOf` what is at `path` of it. */
  constructor(
    private readonly path: string,
    private readonly objectOf: (context: ExecutionContext) => unknown,
    private readonly userOf: (context: ExecutionContext) => string | undefined,
    private readonly isError: boolean,
  ) {}

  /** Returns `key`, about which there is no other warning. */
  watch<K extends object>(key: K): K {
    watched.add(key);
    return key;
  }

  check(context: ExecutionContext): void {
    if (this.checksLeft === 0) return;
    this.checksLeft--;
    const user = this.objectOf(context);
    if (typeof user === 'object' && user !== null) return this.warnOfProperty(context, user);
    // The request fails before a later guard can run, so whether there is one is unknown.
    if (this.isError) return this.warn(context, `byUser() found no user. ${FIX}`);
    const connection = responseConnection(context);
    if (!connection) return;
    onClose(connection, () => {
      const late = this.checksLeft > 0 && this.userOf(context) !== undefined;
      if (late) this.warn(context, `byUser() found no user, but there was one at the end of the request. ${FIX}`);
    });
  }

  /** The guards are in the right order. The names are those of the application; a client may have added others. */
  private warnOfProperty(context: ExecutionContext, user: object): void {
    const names = Object.keys(user).filter((name) => /^\w{1,40}$/.test(name));
    const has = names.length > 0 ? `it has ${names.slice(0, 10).join(', ')}` : 'it has no properties';
    const fix = "Pass the property that identifies a user, such as byUser('sub')";
    this.warn(context, `byUser() found \`user\`, but no \`${this.path}\` in it: ${has}. ${fix}`);
  }

  private warn(context: ExecutionContext, message: string): void {
    this.checksLeft = 0;
    warnOnce.about(this, `${context.getClass().name}.${context.getHandler().name}: ${message}`);
  }
}

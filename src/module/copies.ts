import { type InjectionToken, type Provider, Scope } from '@nestjs/common';
import { BucketService } from '../bucket/bucket.service.js';
import { WaitQueue } from '../guard/wait-queue.js';
import { PlanRegistry } from '../policy/plan-registry.js';
import { RateLimitStore } from '../stores/rate-limit.store.js';
import { RateLimitOptionError } from '../util/option-error.js';
import { VERSION } from '../util/version.js';

/** A copy of the package that this process has loaded, with its injection tokens that are classes. */
interface Copy {
  readonly version: string;
  readonly store: InjectionToken;
  readonly buckets: InjectionToken;
  /** What only its guard injects. */
  readonly ofGuard: readonly InjectionToken[];
}

type CopyProvider = Provider & { readonly provide: InjectionToken };

const COPIES = Symbol.for('nest-rate-limit:copies');
const shared = globalThis as unknown as Record<symbol, Copy[] | undefined>;
const OWN: Copy = {
  version: VERSION,
  store: RateLimitStore,
  buckets: BucketService,
  ofGuard: [PlanRegistry, WaitQueue],
};
shared[COPIES] ??= [];
const copies = shared[COPIES];
copies.push(OWN);

/**
 * Providers for the classes of other copies, which a library may inject. Store and `BucketService` of the same version
 * are those of this copy. Everything else fails startup where it is injected: Nest would report an unknown dependency.
 */
export function providersOfCopies(): CopyProvider[] {
  return copies
    .filter((copy) => copy !== OWN)
    .flatMap(({ version, store, buckets, ofGuard }): CopyProvider[] =>
      version === VERSION
        ? [
            { provide: store, useExisting: RateLimitStore },
            { provide: buckets, useExisting: BucketService },
            ...ofGuard.map(failing),
          ]
        : [store, buckets, ...ofGuard].map(failing),
    );
}

/** A provider that is created, and fails, only where it is injected. */
function failing(provide: InjectionToken): CopyProvider {
  const useFactory = () => {
    const found = 'A class of another copy of nest-rate-limit, such as its RateLimitGuard, is injected or bound';
    throw new RateLimitOptionError(`${found}${copiesHint()}`);
  };
  return { provide, scope: Scope.TRANSIENT, useFactory };
}

/** The cause and the fix of an error that several copies lead to; empty if there is one. */
export function copiesHint(): string {
  if (copies.length === 1) return '';
  const versions = copies.map(({ version }) => version).join(', ');
  return (
    `. ${copies.length} copies of nest-rate-limit are loaded (versions ${versions}), and their classes differ. Find them ` +
    'with `npm ls nest-rate-limit`, and keep one: run `npm dedupe`, or make it a peer dependency of your libraries. If ' +
    'npm lists only one, it is loaded both as an ES module and as CommonJS'
  );
}

import { parsePolicy } from '../../core/policy.js';
import type { StoreRequest, Take } from '../../core/request.js';
import { RateLimitStoreError } from '../../exceptions/rate-limit-store.error.js';
import { every, systemClock } from '../../util/clock.js';
import type { StoreHealth } from '../rate-limit.store.js';
import { Breaker, PROBE_INTERVAL } from './breaker.js';

/** The bucket that probes write to, for the key of a request that failed: in a Cluster, on the same node. */
const PROBE_POLICY = parsePolicy({ capacity: 1, refill: 1 }, 'nest-rate-limit:probe');

/** A node of a Cluster; `undefined` for a store that has none. */
type Node = string | undefined;

interface BreakerCallbacks {
  /** The node that keeps the buckets of a user's key. */
  nodeOf(key: string): Node;
  /** Sends a request to the store. Resolves with whether the store answered. */
  probe(request: StoreRequest): Promise<boolean>;
  onHealth(health: StoreHealth): void;
}

/** One breaker for each node, so that a node that fails suspends no calls to the others. */
export class Breakers {
  /** Only of nodes that have failed since their last success. */
  private readonly failing = new Map<Node, Breaker>();

  constructor(private readonly callbacks: BreakerCallbacks) {}

  /** The failure because of which calls for this request are suspended now; `undefined` if it may be sent. */
  suspension({ takes }: StoreRequest): Error | undefined {
    if (this.areClosed) return undefined;
    for (const breaker of this.of(takes)) if (!breaker.allowsCall()) return breaker.error;
    return undefined;
  }

  /** Whether no node has failed since its last success. */
  get areClosed(): boolean {
    return this.failing.size === 0;
  }

  /** The health of the store; `undefined` if no breaker is open. */
  health(): StoreHealth | undefined {
    for (const { isOpen, error, openSince } of this.failing.values()) {
      if (isOpen) return { status: 'down', error, since: openSince };
    }
    return undefined;
  }

  /** Records that a node failed to answer a request for `key`. */
  recordFailure(node: Node, error: RateLimitStoreError, key: string): void {
    let breaker = this.failing.get(node);
    if (!breaker) {
      breaker = new Breaker();
      this.failing.set(node, breaker);
    }
    if (error.scope === 'write') breaker.rejectsWrites = true;
    if (!breaker.recordFailure(node === undefined ? error : named(node, error))) return;
    breaker.openSince = systemClock.now();
    this.startProbing(breaker, key);
    this.callbacks.onHealth({ status: 'down', error: breaker.error, since: breaker.openSince });
  }

  /** Records that the nodes of these takes answered. */
  recordSuccess(takes: readonly Take[], wrote: boolean): void {
    if (this.areClosed) return;
    for (const breaker of this.of(takes)) if (wrote || !breaker.rejectsWrites) this.close(breaker);
  }

  stop(): void {
    for (const breaker of this.failing.values()) breaker.stopProbing();
  }

  private of(takes: readonly Take[]): Breaker[] {
    const nodes = new Set(takes.map(({ key }) => this.callbacks.nodeOf(key)));
    return [...nodes].flatMap((node) => this.failing.get(node) ?? []);
  }

  /**
   * Probes with writes to a bucket of its own, so that the store also recovers without requests. After a fail-over
   * another node answers the probe.
   */
  private startProbing(breaker: Breaker, key: string): void {
    const take: Take = { policy: PROBE_POLICY, key, amount: 1, maxWait: 0, onStoreError: 'open' };
    breaker.stopProbing = every(PROBE_INTERVAL / 2, () => {
      this.callbacks.probe({ verb: 'charge', takes: [take], retry: false }).then(
        (answered) => answered && this.close(breaker),
        () => {},
      );
    });
  }

  private close(breaker: Breaker): void {
    for (const [node, failing] of this.failing) if (failing === breaker) this.failing.delete(node);
    if (!breaker.isOpen) return;
    breaker.stopProbing();
    breaker.isOpen = false;
    if (this.health() === undefined) this.callbacks.onHealth({ status: 'up' });
  }
}

function named(node: string, error: RateLimitStoreError): RateLimitStoreError {
  const { message, scope, outcome } = error;
  return new RateLimitStoreError(`Redis Cluster node ${node}: ${message}`, scope, { cause: error, outcome });
}

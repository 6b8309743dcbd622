import {
  BucketService,
  type Clock,
  type MemoryStore,
  type Policy,
  RateLimitStore,
  RateLimitStoreError,
  type StoreAnswer,
  type StoreRequest,
} from 'nest-rate-limit';

/** What happens to the calls of a process: they arrive; they or their answers get lost; or nothing is answered any more. */
export type Link = 'up' | 'lost calls' | 'lost answers';

/** ms that each call takes, both ways. */
const LATENCY = 2;

/** A process that shares the buckets of a store with others. Its calls arrive in order. */
export class SlotProcess extends RateLimitStore {
  link: Link = 'up';
  /** The calls that have reached the store, by verb. */
  readonly calls: Record<string, number> = {};
  readonly buckets = new BucketService(this);
  private isKilled = false;
  private readonly listeners = new Set<() => void>();

  constructor(private readonly shared: MemoryStore) {
    super();
  }

  override get clock(): Clock {
    return this.shared.clock;
  }

  override async run(request: StoreRequest): Promise<StoreAnswer> {
    const { link } = this;
    await this.clock.sleep(LATENCY);
    if (this.isKilled) return new Promise(() => {});
    if (link === 'lost calls') throw new RateLimitStoreError('lost');
    this.calls[request.verb] = (this.calls[request.verb] ?? 0) + 1;
    const answer = this.shared.run(request);
    await this.clock.sleep(LATENCY);
    if (this.isKilled) return new Promise(() => {});
    if (link === 'lost answers') throw new RateLimitStoreError('lost');
    return answer;
  }

  override subscribe(policy: Policy, key: string, listener: (message: string) => void): () => void {
    const stop = this.shared.subscribe(policy, key, (message) => {
      if (this.link === 'up') void this.clock.sleep(LATENCY).then(() => this.isKilled || listener(message));
    });
    this.listeners.add(stop);
    return stop;
  }

  /** Ends the process: it sends and receives nothing any more. */
  kill(): void {
    this.isKilled = true;
    for (const stop of this.listeners) stop();
  }
}

import {
  BucketService,
  type Clock,
  MemoryStore,
  type Policy,
  RateLimitStore,
  RateLimitStoreError,
  type StoreAnswer,
  type StoreRequest,
} from 'nest-rate-limit';
import { FakeClock } from 'nest-rate-limit/testing';

/** What happens to the calls of a process: they arrive; they or their answers get lost; or messages to it arrive late. */
export type Link = 'up' | 'lost calls' | 'lost answers' | 'late messages';

/** ms that each call takes, both ways. */
const LATENCY = 2;
/** ms that each late message takes: longer than slots and waits last without a report. */
const LATE = 4000;

/** A process that shares the buckets of a store with others. Its calls arrive in order. */
export class SlotProcess extends RateLimitStore {
  link: Link = 'up';
  /** Ends the suspension of the process: until then it runs none of its timers, and receives nothing. */
  private resume: (() => void) | undefined;
  private running: Promise<void> = Promise.resolve();
  readonly clock: Clock;
  /** The calls that have reached the store, by verb. */
  readonly calls: Record<string, number> = {};
  readonly buckets = new BucketService(this);
  private isKilled = false;
  private readonly listeners = new Set<() => void>();

  constructor(private readonly shared: MemoryStore) {
    super();
    const { clock } = shared;
    this.clock = {
      now: () => clock.now(),
      sleep: async (ms, signal) => {
        await clock.sleep(ms, signal);
        await this.running;
        signal?.throwIfAborted();
      },
    };
  }

  /** As SIGSTOP and SIGCONT do. */
  suspend(): void {
    this.running = new Promise((resolve) => {
      this.resume = resolve;
    });
  }

  continue(): void {
    this.resume?.();
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

  override subscribe(policy: Policy, key: string, listener: (message: string) => void, holder?: number): () => void {
    const receive = (message: string) => {
      const { link } = this;
      if (link.startsWith('lost')) return;
      void this.clock.sleep(link === 'up' ? LATENCY : LATE).then(() => this.isKilled || listener(message));
    };
    const stop = this.shared.subscribe(policy, key, receive, holder);
    // The subscription has started.
    receive('');
    this.listeners.add(stop);
    return stop;
  }

  /** Ends the process: it sends and receives nothing any more. */
  kill(): void {
    this.isKilled = true;
    for (const stop of this.listeners) stop();
  }
}

export const LIMIT = { name: 'work', concurrency: 2, slotTtl: '3s' } as const;

/** Processes that share a store, each with handles on a bucket of two slots. */
export function openProcesses(count: number) {
  const clock = new FakeClock();
  const shared = new MemoryStore({ clock });
  shared.close();
  const processes = Array.from({ length: count }, () => new SlotProcess(shared));
  const bucketOf = (process: SlotProcess) => process.buckets.bucket(LIMIT, 'key');
  const settled = <T>(promise: Promise<T>) => advanced(clock, promise);
  const free = async () => settled(bucketOf(processes[0]).available());
  return { clock, shared, processes, bucketOf, settled, free };
}

/** Advances the clock until the promise has settled. */
export async function advanced<T>(clock: FakeClock, promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  await clock.advance(50);
  return promise;
}

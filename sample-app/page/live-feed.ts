import { createHmac, randomBytes } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Injectable, type MessageEvent, type OnModuleDestroy } from '@nestjs/common';
import {
  type DecisionMessage,
  type HealthMessage,
  RateLimitStore,
  type SlotHoldMessage,
  type WaitMessage,
} from 'nest-rate-limit';
import {
  bufferTime,
  combineLatest,
  distinctUntilChanged,
  filter,
  map,
  merge,
  Observable,
  Subject,
  share,
  startWith,
  takeUntil,
} from 'rxjs';
import { DemoRedis } from './demo-redis.js';

/** Events are sent in batches, so that a flood of requests does not become a flood of messages. */
const BATCH_INTERVAL = 50;
const MAX_BATCH_SIZE = 500;
/** Browsers wait this long before they reconnect. */
const RECONNECT_DELAY = 1000;

/** Streams the decisions, and the releases of slots, to browsers: policy names and numbers, but no keys. */
@Injectable()
export class LiveFeed implements OnModuleDestroy {
  /** Hashes keys, so that they cannot be recovered from the page. It changes with each restart. */
  private readonly secret = randomBytes(16);
  private readonly closing = new Subject<void>();
  /** All browsers share one subscription per channel, which ends with the last browser. */
  private readonly decisions: Observable<MessageEvent>;

  constructor(
    private readonly redis: DemoRedis,
    private readonly store: RateLimitStore,
  ) {
    this.decisions = merge(
      messagesOf<DecisionMessage>('nest-rate-limit:decision').pipe(map((message) => this.withoutKey(message))),
      messagesOf<WaitMessage>('nest-rate-limit:wait').pipe(
        filter(({ end }) => end !== undefined),
        map(({ decision, end, waited }) => ({ ...this.withoutKey(decision), end, waited })),
      ),
      messagesOf<SlotHoldMessage>('nest-rate-limit:slot').pipe(
        filter(({ event }) => event === 'released'),
        map(({ policy, key }) => ({ policy, bucket: this.hashOf(policy, key), released: true })),
      ),
    ).pipe(
      bufferTime(BATCH_INTERVAL, null, MAX_BATCH_SIZE),
      filter((events) => events.length > 0),
      map((data) => ({ type: 'decisions', data })),
      share(),
    );
  }

  /** The events for one browser, until it disconnects or the app closes. */
  events(): Observable<MessageEvent> {
    return merge(this.states(), this.decisions).pipe(takeUntil(this.closing));
  }

  /** The state of the store: `memory`, or for Redis `up`, `down` or `paused`. */
  private states(): Observable<MessageEvent> {
    const health = messagesOf<HealthMessage>('nest-rate-limit:health').pipe(
      map(({ status }) => status),
      startWith(this.store.health().status),
    );
    return combineLatest([this.redis.state, health]).pipe(
      map(([redis, status]) => (redis === 'connected' ? status : redis)),
      distinctUntilChanged(),
      map((state) => ({ type: 'store', data: { state }, retry: RECONNECT_DELAY })),
    );
  }

  onModuleDestroy(): void {
    this.closing.next();
  }

  private withoutKey({ key, transport, ...numbers }: DecisionMessage): object {
    return { ...numbers, bucket: this.hashOf(numbers.policy, key) };
  }

  private hashOf(policy: string, key: string): string {
    return createHmac('sha256', this.secret).update(`${policy}\n${key}`).digest('hex').slice(0, 4);
  }
}

function messagesOf<T>(channel: string): Observable<T> {
  return new Observable((subscriber) => {
    const listener = (message: unknown) => subscriber.next(message as T);
    subscribe(channel, listener);
    return () => unsubscribe(channel, listener);
  });
}

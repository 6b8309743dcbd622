import { createHmac, randomBytes } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Injectable, type MessageEvent, type OnModuleDestroy } from '@nestjs/common';
import type { DecisionMessage, HealthMessage, WaitMessage } from 'nest-rate-limit';
import { bufferTime, filter, map, merge, Observable, Subject, share, takeUntil } from 'rxjs';
import { DemoRedis } from './demo-redis.js';

/** Events are sent in batches, so that a flood of requests does not become a flood of messages. */
const BATCH_INTERVAL = 50;
const MAX_BATCH_SIZE = 500;

/** Streams the decisions to browsers: policy names and numbers, but no keys. */
@Injectable()
export class LiveFeed implements OnModuleDestroy {
  /** Hashes keys, so that they cannot be recovered from the page. It changes with each restart. */
  private readonly secret = randomBytes(16);
  private readonly closing = new Subject<void>();
  /** All browsers share one subscription per channel, which ends with the last browser. */
  private readonly decisions: Observable<MessageEvent>;
  private readonly states: Observable<MessageEvent>;

  constructor(redis: DemoRedis) {
    this.decisions = merge(
      messagesOf<DecisionMessage>('nest-rate-limit:decision').pipe(map((message) => this.withoutKey(message))),
      messagesOf<WaitMessage>('nest-rate-limit:wait').pipe(
        filter(({ end }) => end !== undefined),
        map(({ decision, end, waited }) => ({ ...this.withoutKey(decision), end, waited })),
      ),
      messagesOf<HealthMessage>('nest-rate-limit:health').pipe(map(({ status }) => ({ health: status }))),
    ).pipe(
      bufferTime(BATCH_INTERVAL, null, MAX_BATCH_SIZE),
      filter((events) => events.length > 0),
      map((data) => ({ type: 'decisions', data })),
      share(),
    );
    this.states = redis.state.pipe(map((state) => ({ type: 'redis', data: { state } })));
  }

  /** The events for one browser, until it disconnects or the app closes. */
  events(): Observable<MessageEvent> {
    return merge(this.states, this.decisions).pipe(takeUntil(this.closing));
  }

  onModuleDestroy(): void {
    this.closing.next();
  }

  private withoutKey({ key, transport, ...numbers }: DecisionMessage): object {
    const { policy } = numbers;
    const bucket = createHmac('sha256', this.secret).update(`${policy}\n${key}`).digest('hex').slice(0, 4);
    return { ...numbers, bucket };
  }
}

function messagesOf<T>(channel: string): Observable<T> {
  return new Observable((subscriber) => {
    const listener = (message: unknown) => subscriber.next(message as T);
    subscribe(channel, listener);
    return () => unsubscribe(channel, listener);
  });
}

import { createHmac, randomBytes } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Injectable, type MessageEvent, type OnModuleDestroy } from '@nestjs/common';
import type { DecisionMessage, HealthMessage, WaitMessage } from 'nest-rate-limit';
import { bufferTime, filter, map, merge, Observable, Subject, share, takeUntil } from 'rxjs';
import { DemoRedis } from './demo-redis.js';

/** Events go out together, so that a flood is not one of messages. */
const EVERY = 50;
const MOST = 500;

/** What limits decide, for browsers: names and numbers, and never a key. */
@Injectable()
export class LiveFeed implements OnModuleDestroy {
  /** Nobody can find a key from what is shown of it, and after a restart it is shown as something else. */
  private readonly secret = randomBytes(16);
  private readonly closing = new Subject<void>();
  /** However many browsers look on, each channel is heard once; when the last one goes, not at all. */
  private readonly decided: Observable<MessageEvent>;
  private readonly states: Observable<MessageEvent>;

  constructor(redis: DemoRedis) {
    this.decided = merge(
      heard<DecisionMessage>('nest-rate-limit:decision').pipe(map((message) => this.shown(message))),
      heard<WaitMessage>('nest-rate-limit:wait').pipe(
        filter(({ end }) => end !== undefined),
        map(({ decision, end, waited }) => ({ ...this.shown(decision), end, waited })),
      ),
      heard<HealthMessage>('nest-rate-limit:health').pipe(map(({ status }) => ({ health: status }))),
    ).pipe(
      bufferTime(EVERY, null, MOST),
      filter((events) => events.length > 0),
      map((data) => ({ type: 'decisions', data })),
      share(),
    );
    this.states = redis.state.pipe(map((state) => ({ type: 'redis', data: { state } })));
  }

  /** For one browser, until it goes or the app closes. */
  events(): Observable<MessageEvent> {
    return merge(this.states, this.decided).pipe(takeUntil(this.closing));
  }

  onModuleDestroy(): void {
    this.closing.next();
  }

  private shown({ key, transport, ...numbers }: DecisionMessage): object {
    const { policy } = numbers;
    const bucket = createHmac('sha256', this.secret).update(`${policy}\n${key}`).digest('hex').slice(0, 4);
    return { ...numbers, bucket };
  }
}

function heard<T>(channel: string): Observable<T> {
  return new Observable((subscriber) => {
    const listener = (message: unknown) => subscriber.next(message as T);
    subscribe(channel, listener);
    return () => unsubscribe(channel, listener);
  });
}

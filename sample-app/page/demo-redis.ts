import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Redis } from 'ioredis';
import { BehaviorSubject } from 'rxjs';

/** `none`: the app keeps its buckets in memory. */
type RedisState = 'none' | 'runs' | 'paused';

/**
 * The app's connection to Redis, with a switch that makes it fall silent: nothing is sent any more, and so nothing
 * answered. Redis itself goes on, and so do all others who use it.
 */
@Injectable()
export class DemoRedis implements OnApplicationShutdown {
  readonly state = new BehaviorSubject<RedisState>('none');
  private client: Redis | undefined;

  async connect(url: string): Promise<Redis> {
    // As the module would open it: nothing waits in a queue while Redis is away, and nothing is sent twice.
    const client = new Redis(url, {
      lazyConnect: true,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      connectTimeout: 2000,
      socketTimeout: 2000,
    });
    client.on('error', () => {}); // the module tells it
    // A connection that was silent for long is opened anew, and has to be silent, too.
    client.on('connect', () => {
      if (this.state.value === 'paused') client.stream.cork();
    });
    this.client = client;
    this.state.next('runs');
    await client.connect().catch(() => {});
    return client;
  }

  pause(paused: boolean): void {
    if (!this.client || paused === (this.state.value === 'paused')) return;
    this.state.next(paused ? 'paused' : 'runs');
    if (paused) this.client.stream?.cork();
    else this.client.stream?.uncork();
  }

  onApplicationShutdown(): void {
    this.client?.disconnect();
  }
}

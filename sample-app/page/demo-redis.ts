import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Redis } from 'ioredis';
import { BehaviorSubject } from 'rxjs';

/** `memory`: the app has no connection to Redis. */
type RedisState = 'memory' | 'connected' | 'paused';

/**
 * The app's connection to Redis, with a switch that pauses it: commands are held back, so none is answered. Redis
 * itself and its other clients are not affected.
 */
@Injectable()
export class DemoRedis implements OnApplicationShutdown {
  readonly state = new BehaviorSubject<RedisState>('memory');
  private client: Redis | undefined;

  async connect(url: string): Promise<Redis> {
    // The module's own connection options: no command is queued while Redis is unavailable, and none is sent twice.
    const client = new Redis(url, {
      lazyConnect: true,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      connectTimeout: 2000,
      socketTimeout: 2000,
    });
    client.on('error', () => {}); // the module logs it
    // ioredis reconnects after a long silence; a paused connection must stay paused.
    client.on('connect', () => {
      if (this.state.value === 'paused') client.stream.cork();
    });
    this.client = client;
    this.state.next('connected');
    await client.connect().catch(() => {});
    return client;
  }

  pause(paused: boolean): void {
    if (!this.client || paused === (this.state.value === 'paused')) return;
    this.state.next(paused ? 'paused' : 'connected');
    if (paused) this.client.stream?.cork();
    else this.client.stream?.uncork();
  }

  onApplicationShutdown(): void {
    this.client?.disconnect();
  }
}

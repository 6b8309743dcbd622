import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

interface Pair {
  readonly client: Socket;
  readonly upstream: Socket;
}

/** A TCP proxy in front of Redis, whose connections a test disturbs. */
export class ChaosProxy {
  /** The port that new connections are forwarded to. */
  target: number;
  /** ms by which each chunk is delayed, in both directions. */
  delay = 0;
  /** Whether new connections are refused. */
  refuses = false;
  /** Whether all bytes disappear. */
  isBlackHole = false;
  private readonly pairs = new Set<Pair>();

  private constructor(
    private readonly server: Server,
    target: number,
  ) {
    this.target = target;
    server.on('connection', (client) => this.accept(client));
  }

  static async start(target: number): Promise<ChaosProxy> {
    const server = createServer();
    const proxy = new ChaosProxy(server, target);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** Resets all connections. */
  cut(): void {
    for (const { client, upstream } of this.pairs) {
      client.resetAndDestroy();
      upstream.resetAndDestroy();
    }
  }

  /** Ends one direction of all connections: clients can still send, or Redis still can. */
  halfClose(side: 'client' | 'upstream'): void {
    for (const pair of this.pairs) pair[side].end();
  }

  /** Loses what Redis replies from now on, on the present connections; new ones work. */
  deafen(): void {
    for (const { client, upstream } of this.pairs) {
      upstream.removeAllListeners('data').on('data', () => {});
      client.pause();
    }
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private accept(client: Socket): void {
    if (this.refuses) {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect({ port: this.target, host: '127.0.0.1', allowHalfOpen: true });
    const pair = { client, upstream };
    this.pairs.add(pair);
    this.forward(client, upstream, pair);
    this.forward(upstream, client, pair);
  }

  private forward(from: Socket, to: Socket, pair: Pair): void {
    const end = () => {
      this.pairs.delete(pair);
      from.destroy();
      to.destroy();
    };
    from.setNoDelay(true);
    from.on('error', end).on('close', end);
    from.on('end', () => to.end());
    let held = 0;
    let written = Promise.resolve();
    from.on('data', (chunk) => {
      if (this.isBlackHole) return;
      if (this.delay === 0 && held === 0) {
        to.write(chunk);
        return;
      }
      // Behind those that are held, also when the delay has ended: TCP keeps the order of bytes.
      held++;
      const due = performance.now() + this.delay;
      written = written.then(async () => {
        await sleep(Math.max(0, due - performance.now()));
        held--;
        if (to.writable) to.write(chunk);
      });
    });
  }
}

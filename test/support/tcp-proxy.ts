import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** What happens to a chunk of data: it is passed on, kept until `repair`, lost, or the connection is cut instead. */
type Fate = 'pass' | 'keep' | 'drop' | 'cut';

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
}

/** A TCP proxy in front of Redis, which a test can make faulty. */
export class TcpProxy {
  /** The fate of commands on their way to the server. */
  onCommand: (chunk: Buffer) => Fate = () => 'pass';
  /** The fate of replies on their way back. */
  onReply: (chunk: Buffer) => Fate = () => 'pass';
  /** Whether accepted connections are reset at once. */
  isDown = false;
  /** ms by which each chunk is delayed, in both directions. */
  delay = 0;
  private readonly pairs = new Set<Pair>();
  private kept: (() => void)[] = [];
  private readonly listener = createServer((client) => this.accept(client));

  /** `target` is the port of the server of new connections. */
  private constructor(public target: number) {}

  static async open(target: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    proxy.listener.listen(0, '127.0.0.1');
    await once(proxy.listener, 'listening');
    return proxy;
  }

  get url(): string {
    return `redis://127.0.0.1:${(this.listener.address() as AddressInfo).port}`;
  }

  /** Resets all connections. */
  cut(): void {
    for (const pair of this.pairs) reset(pair);
  }

  /** Resets all connections, and new ones at once until `repair`. */
  break(): void {
    this.isDown = true;
    this.cut();
  }

  /** Loses all data in both directions, until `repair`. */
  lose(): void {
    this.onCommand = () => 'drop';
    this.onReply = () => 'drop';
  }

  /** Loses what the server replies from now on, on the present connections; new ones work. */
  deafen(): void {
    for (const { client, server } of this.pairs) {
      server.removeAllListeners('data').on('data', () => {});
      client.pause();
    }
  }

  /** Ends one direction of all connections: clients can still send, or the server still can. */
  halfClose(side: keyof Pair): void {
    for (const pair of this.pairs) pair[side].end();
  }

  /** Passes everything on again, first what was kept. */
  repair(): void {
    this.isDown = false;
    this.onCommand = () => 'pass';
    this.onReply = () => 'pass';
    for (const pass of this.kept.splice(0)) pass();
  }

  async close(): Promise<void> {
    this.cut();
    this.listener.close();
    await once(this.listener, 'close');
  }

  private accept(client: Socket): void {
    if (this.isDown) {
      client.resetAndDestroy();
      return;
    }
    const server = connect({ port: this.target, host: '127.0.0.1', allowHalfOpen: true });
    const pair = { client, server };
    this.pairs.add(pair);
    this.pipe(client, server, pair, (chunk) => this.onCommand(chunk));
    this.pipe(server, client, pair, (chunk) => this.onReply(chunk));
  }

  private pipe(from: Socket, to: Socket, pair: Pair, fateOf: (chunk: Buffer) => Fate): void {
    from.setNoDelay(true);
    from.on('error', () => {});
    from.on('end', () => to.end());
    from.on('close', () => {
      this.pairs.delete(pair);
      to.destroy();
    });
    const pass = this.passTo(to);
    from.on('data', (chunk) => {
      const fate = fateOf(chunk);
      if (fate === 'keep') this.kept.push(() => pass(chunk));
      else if (fate === 'pass') pass(chunk);
      else if (fate === 'cut') reset(pair);
    });
  }

  /** Returns a function that writes a chunk after the delay. */
  private passTo(to: Socket): (chunk: Buffer) => void {
    let held = 0;
    let written = Promise.resolve();
    return (chunk) => {
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
    };
  }
}

function reset({ client, server }: Pair): void {
  client.resetAndDestroy();
  server.resetAndDestroy();
}

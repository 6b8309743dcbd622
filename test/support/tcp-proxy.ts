import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** What happens to a chunk of data: it is passed on, kept until `resume`, or the connection is cut instead. */
type Fate = 'pass' | 'keep' | 'cut';

/** A TCP proxy in front of Redis, which a test can make faulty. */
export class TcpProxy {
  /** The fate of commands on their way to the server. */
  onCommand: (chunk: Buffer) => Fate = () => 'pass';
  /** The fate of replies on their way back. */
  onReply: (chunk: Buffer) => Fate = () => 'pass';
  /** Whether connections are refused, after they were accepted. */
  isDown = false;
  private readonly sockets = new Set<Socket>();
  private kept: (() => void)[] = [];
  private readonly server = createServer((client) => this.accept(client));

  private constructor(private readonly target: number) {}

  static async open(target: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    proxy.server.listen(0, '127.0.0.1');
    await once(proxy.server, 'listening');
    return proxy;
  }

  get url(): string {
    return `redis://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Cuts all connections. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  /** Cuts all connections, and refuses new ones until `repair`. */
  break(): void {
    this.isDown = true;
    this.cut();
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
    this.server.close();
    await once(this.server, 'close');
  }

  private accept(client: Socket): void {
    if (this.isDown) {
      client.destroy();
      return;
    }
    const server = connect(this.target, '127.0.0.1');
    this.pipe(client, server, (chunk) => this.onCommand(chunk));
    this.pipe(server, client, (chunk) => this.onReply(chunk));
  }

  private pipe(from: Socket, to: Socket, fateOf: (chunk: Buffer) => Fate): void {
    this.sockets.add(from);
    from.on('error', () => {});
    from.on('close', () => {
      this.sockets.delete(from);
      to.destroy();
    });
    from.on('data', (chunk) => {
      const fate = fateOf(chunk);
      if (fate === 'keep') this.kept.push(() => to.write(chunk));
      else if (fate === 'pass') to.write(chunk);
      else from.destroy();
    });
  }
}

import { AckPolicy, type ConsumerMessages, type JsMsg, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { BaseRpcContext, type CustomTransportStrategy, Server } from '@nestjs/microservices';

/** What handlers of `JetStreamServer` receive beside the data. */
export class JetStreamContext extends BaseRpcContext<[JsMsg]> {
  getMessage(): JsMsg {
    return this.args[0];
  }
}

/** A microservice on a stream of NATS JetStream: acknowledges what its handlers return from. */
export class JetStreamServer extends Server implements CustomTransportStrategy {
  private connection!: NatsConnection;
  private messages!: ConsumerMessages;

  constructor(
    private readonly url: string,
    private readonly stream: string,
  ) {
    super();
  }

  async listen(callback: () => void): Promise<void> {
    this.connection = await connect({ servers: this.url });
    const manager = await jetstreamManager(this.connection);
    await manager.streams.add({ name: this.stream, subjects: [`${this.stream}.*`] });
    await manager.consumers.add(this.stream, {
      durable_name: 'workers',
      ack_policy: AckPolicy.Explicit,
      max_ack_pending: 1,
    });
    const consumer = await jetstream(this.connection).consumers.get(this.stream, 'workers');
    this.messages = await consumer.consume({ callback: (message) => void this.handle(message) });
    callback();
  }

  private async handle(message: JsMsg): Promise<void> {
    const context = new JetStreamContext([message]);
    await this.handleEvent(message.subject, { pattern: message.subject, data: message.json() }, context);
  }

  async publish(event: string, data: unknown): Promise<void> {
    await jetstream(this.connection).publish(`${this.stream}.${event}`, JSON.stringify(data));
  }

  /** How many messages are neither acknowledged nor given up. */
  async open(): Promise<number> {
    const manager = await jetstreamManager(this.connection);
    const { num_pending, num_ack_pending } = await manager.consumers.info(this.stream, 'workers');
    return num_pending + num_ack_pending;
  }

  async close(): Promise<void> {
    await this.messages.close();
    await this.connection.close();
  }

  on(): void {}

  unwrap<T>(): T {
    return this.connection as T;
  }
}

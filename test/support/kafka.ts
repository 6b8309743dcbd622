import { createRequire } from 'node:module';

/*
 * Kafka without a broker: the runner of kafkajs, which calls a consumer's handler, on a partition in memory instead of a
 * consumer group. What it delivers again, commits or crashes on is decided by kafkajs.
 */

interface Message {
  readonly offset: string;
  readonly value: Buffer;
  readonly headers: Record<string, Buffer>;
}

type EachMessage = (payload: object) => Promise<void>;

interface Runner {
  start(): Promise<void>;
  stop(): Promise<void>;
}

const require = createRequire(import.meta.url);
const KafkaRunner = require('kafkajs/src/consumer/runner.js') as new (options: object) => Runner;

const TOPIC = 'orders';
const PARTITION = 0;

/** One partition of a topic, and its only consumer. */
export class MemoryPartition {
  readonly messages: Message[] = [];
  /** How often the partition has been paused. */
  pauses = 0;
  /** The offset after the last message that was consumed. */
  committed = 0;
  crashed: Error | undefined;
  /** After so many errors kafkajs gives up. */
  retries = 1000;
  readonly errors: string[] = [];
  private resolved = 0;
  private paused = false;
  private runner: Runner | undefined;

  /** The consumer that handlers see. */
  readonly consumer = {
    pause: (partitions: object[]) => this.group.pause(partitions),
    resume: (partitions: object[]) => this.group.resume(partitions),
  };

  add(value: unknown, headers: Record<string, string> = {}): void {
    this.messages.push({
      offset: String(this.messages.length),
      value: Buffer.from(JSON.stringify(value)),
      headers: Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, Buffer.from(text)])),
    });
  }

  async start(eachMessage: EachMessage): Promise<void> {
    const logger = {
      namespace: () => logger,
      debug: () => {},
      info: () => {},
      warn: () => {},
      error: (message: string) => this.errors.push(message),
    };
    this.runner = new KafkaRunner({
      logger,
      consumerGroup: this.group,
      instrumentationEmitter: { emit: () => {} },
      eachMessage,
      retry: { initialRetryTime: 5, maxRetryTime: 20, retries: this.retries },
      onCrash: (error: Error) => {
        this.crashed = error;
      },
    });
    await this.runner.start();
  }

  async stop(): Promise<void> {
    await this.runner?.stop();
  }

  private readonly group = {
    groupId: 'group',
    memberId: 'member',
    connect: async () => {},
    joinAndSync: async () => {},
    leave: async () => {},
    heartbeat: async () => {},
    getNodeIds: () => [1],
    hasSeekOffset: () => false,
    isPaused: () => this.paused,
    pause: (partitions: object[]) => {
      this.check(partitions);
      this.paused = true;
      this.pauses++;
    },
    resume: (partitions: object[]) => {
      this.check(partitions);
      this.paused = false;
    },
    resolveOffset: ({ offset }: { offset: string }) => {
      this.resolved = Number(offset) + 1;
    },
    commitOffsets: async () => {
      this.committed = this.resolved;
    },
    commitOffsetsIfNecessary: async () => {},
    fetch: async () => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      const messages = this.paused ? [] : this.messages.slice(this.resolved).map((message) => ({ ...message }));
      return messages.length > 0 ? [this.batch(messages)] : [];
    },
  };

  private batch(messages: readonly Message[]): object {
    return {
      topic: TOPIC,
      partition: PARTITION,
      messages,
      offsetLag: () => '0',
      offsetLagLow: () => '0',
      firstOffset: () => messages[0].offset,
      lastOffset: () => messages.at(-1)?.offset,
      isEmpty: () => messages.length === 0,
      isEmptyDueToFiltering: () => false,
    };
  }

  private check(partitions: object[]): void {
    const expected = JSON.stringify([{ topic: TOPIC, partitions: [PARTITION] }]);
    if (JSON.stringify(partitions) !== expected) throw new Error(`Unexpected partitions ${JSON.stringify(partitions)}`);
  }
}

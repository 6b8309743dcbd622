import type { ArgumentsHost } from '@nestjs/common';
import { later } from '../util/clock.js';

/** The consumer of kafkajs, as far as it is used here. */
interface Consumer {
  pause(partitions: readonly TopicPartitions[]): void;
  resume(partitions: readonly TopicPartitions[]): void;
}

interface TopicPartitions {
  readonly topic: string;
  readonly partitions: number[];
}

/** Nest's context of a message over Kafka. */
interface KafkaContext {
  getMessage(): { readonly headers?: { readonly kafka_replyTopic?: unknown; readonly kafka_correlationId?: unknown } };
  getConsumer(): Consumer | null | undefined;
  getTopic(): string;
  getPartition(): number;
}

/** ms. Limits may change and buckets be reset in the pause. */
const LONGEST_PAUSE = 60_000;

/**
 * Pauses the partition of an event over Kafka until it may be retried. Its offset is not committed, so kafkajs delivers it
 * again, in its place: without the pause it would try at once, give up after a few times, and leave and rejoin the group.
 */
export function pauseUntilRetry(host: ArgumentsHost, retryAfter: number): void {
  const context = host.getArgByIndex<object | null | undefined>(1);
  if (retryAfter === Infinity || !isKafka(context) || isAnswered(context)) return;
  const consumer = context.getConsumer();
  const partitions = [{ topic: context.getTopic(), partitions: [context.getPartition()] }];
  ifRunning(() => consumer?.pause(partitions));
  later(Math.min(retryAfter, LONGEST_PAUSE), () => ifRunning(() => consumer?.resume(partitions)));
}

export function isKafka(context: object | null | undefined): context is KafkaContext {
  const { getConsumer, getPartition } = (context ?? {}) as Partial<KafkaContext>;
  return typeof getConsumer === 'function' && typeof getPartition === 'function';
}

/** Whether the sender waits for an answer, as Nest determines it. */
function isAnswered(context: KafkaContext): boolean {
  const { headers } = context.getMessage();
  return Boolean(headers?.kafka_replyTopic && headers.kafka_correlationId);
}

/** A consumer that has been stopped throws. Another one of its group has the partition then. */
function ifRunning(call: () => void): void {
  try {
    call();
  } catch {}
}

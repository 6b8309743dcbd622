import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { type Attributes, type Meter, metrics } from '@opentelemetry/api';
import {
  DECISION,
  type DecisionMessage,
  EFFECT,
  type EffectMessage,
  FAILURE,
  type FailureMessage,
  SLOT,
  type SlotHoldMessage,
  STORE,
  type StoreMessage,
  WAIT,
  type WaitMessage,
} from '../observe/channels.js';

const SECONDS = { unit: 's', advice: { explicitBucketBoundaries: [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 1, 10, 60] } };

/**
 * Starts recording OpenTelemetry metrics of all rate limits of this process. Returns a function that stops it. Calling
 * it twice counts everything twice.
 *
 * Names and values follow OpenTelemetry's conventions for rate limiting in ASP.NET Core, without the prefix
 * `aspnetcore`. Its results `endpoint_limiter` and `global_limiter` are both `limited` here. No attribute contains a
 * key, an address or a path.
 *
 * ```ts
 * const stop = recordRateLimits();
 * ```
 *
 * @param meter Default: the meter `nest-rate-limit` of the global `MeterProvider`.
 */
export function recordRateLimits(meter: Meter = metrics.getMeter('nest-rate-limit')): () => void {
  const instruments = createInstruments(meter);
  return listen({
    [DECISION]: (message: DecisionMessage) => recordDecision(instruments, message),
    [WAIT]: (message: WaitMessage) => recordWait(instruments, message),
    [FAILURE]: (message: FailureMessage) => recordFailure(instruments, message),
    [STORE]: (message: StoreMessage) => recordStoreCall(instruments, message),
    [EFFECT]: (message: EffectMessage) => recordEffect(instruments, message),
    [SLOT]: (message: SlotHoldMessage) => recordSlot(instruments, message),
  });
}

type Instruments = ReturnType<typeof createInstruments>;

function createInstruments(meter: Meter) {
  return {
    requests: meter.createCounter('rate_limiting.requests', {
      description: 'Requests checked against a rate limit.',
      unit: '{request}',
    }),
    queued: meter.createUpDownCounter('rate_limiting.queued_requests', {
      description: 'Requests that are currently queued.',
      unit: '{request}',
    }),
    timeInQueue: meter.createHistogram('rate_limiting.request.time_in_queue', {
      ...SECONDS,
      description: 'The time that requests spent in the queue.',
    }),
    heldSlots: meter.createUpDownCounter('rate_limiting.held_slots', {
      description: 'Slots of concurrency limits that this process holds.',
      unit: '{slot}',
    }),
    slotTimes: meter.createHistogram('rate_limiting.slot.duration', {
      ...SECONDS,
      description: 'The time for which slots of concurrency limits were held.',
    }),
    storeCalls: meter.createHistogram('rate_limiting.store.duration', {
      ...SECONDS,
      description: 'The duration of calls to the store.',
    }),
    pendingEffects: meter.createUpDownCounter('rate_limiting.store.pending_effects', {
      description: 'Refunds, charges and blocks that failed and are repeated.',
      unit: '{effect}',
    }),
    droppedEffects: meter.createCounter('rate_limiting.store.dropped_effects', {
      description: 'Refunds, charges and blocks that the store has not applied.',
      unit: '{effect}',
    }),
  };
}

function recordDecision({ requests }: Instruments, decision: DecisionMessage): void {
  // A queued request is counted once, when its wait ends.
  if (decision.delay > 0) return;
  requests.add(1, attributesOf(decision, decision.allowed ? 'acquired' : 'limited'));
}

function recordWait({ requests, queued, timeInQueue }: Instruments, { decision, end, waited }: WaitMessage): void {
  queued.add(end ? -1 : 1, { 'rate_limiting.policy': decision.policy });
  if (!end) return;
  const result = end === 'passed' ? 'acquired' : 'request_canceled';
  // A wait for a slot begins with a denial, and ends with another decision unless the request was canceled.
  if (decision.allowed || end === 'left' || end === 'closed') requests.add(1, attributesOf(decision, result));
  timeInQueue.record(waited / 1000, { 'rate_limiting.policy': decision.policy, 'rate_limiting.result': result });
}

function recordFailure({ requests }: Instruments, { policy, transport, error }: FailureMessage): void {
  requests.add(1, {
    'rate_limiting.policy': policy,
    'rate_limiting.result': 'error',
    'rate_limiting.transport': transport,
    'error.type': error.name,
  });
}

function recordStoreCall({ storeCalls }: Instruments, { verb, store, duration, error }: StoreMessage): void {
  storeCalls.record(duration / 1000, {
    'rate_limiting.store': store,
    'rate_limiting.store.operation': verb,
    ...(error && { 'error.type': error.name }),
  });
}

function recordEffect({ pendingEffects, droppedEffects }: Instruments, message: EffectMessage): void {
  const { policy, verb, event, reason, count } = message;
  const attributes = { 'rate_limiting.policy': policy, 'rate_limiting.store.operation': verb };
  pendingEffects.add(event === 'queued' ? count : -count, attributes);
  if (reason) droppedEffects.add(count, { ...attributes, 'rate_limiting.reason': reason });
}

function recordSlot({ heldSlots, slotTimes }: Instruments, { policy, event, held }: SlotHoldMessage): void {
  const attributes = { 'rate_limiting.policy': policy };
  heldSlots.add(event === 'granted' ? 1 : -1, attributes);
  if (event === 'released') slotTimes.record(held / 1000, attributes);
}

function attributesOf({ policy, source, dryRun, transport }: DecisionMessage, result: string): Attributes {
  return {
    'rate_limiting.policy': policy,
    'rate_limiting.result': result,
    'rate_limiting.source': source,
    'rate_limiting.transport': transport,
    // Present only on dry runs, so that a query can exclude them by the attribute's presence.
    ...(dryRun && { 'rate_limiting.dry_run': true }),
  };
}

/** Subscribes each listener to its channel; returns a function that unsubscribes all of them. */
function listen(listeners: Readonly<Record<string, (message: never) => void>>): () => void {
  const all = Object.entries(listeners) as [string, (message: unknown) => void][];
  for (const [name, listener] of all) subscribe(name, listener);
  return () => {
    for (const [name, listener] of all) unsubscribe(name, listener);
  };
}

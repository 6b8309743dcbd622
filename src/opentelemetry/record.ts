import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { type Attributes, type Meter, metrics } from '@opentelemetry/api';
import {
  DECISION,
  type DecisionMessage,
  FAILURE,
  type FailureMessage,
  STORE,
  type StoreMessage,
  WAIT,
  type WaitMessage,
} from '../observe/channels.js';

const SECONDS = { unit: 's', advice: { explicitBucketBoundaries: [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 1, 10, 60] } };

/**
 * Records metrics from now on; returns the way to stop. Called twice, everything counts twice. Names and values are
 * those of OpenTelemetry's conventions for the rate limiting of ASP.NET Core, without its name; the result of both of
 * their limiters is `limited`. No attribute has a key, an address or a path in it.
 */
export function recordRateLimits(meter: Meter = metrics.getMeter('nest-rate-limit')): () => void {
  const requests = meter.createCounter('rate_limiting.requests', {
    description: 'Requests that tried to pass a rate limit.',
    unit: '{request}',
  });
  const queued = meter.createUpDownCounter('rate_limiting.queued_requests', {
    description: 'Requests that wait in line now.',
    unit: '{request}',
  });
  const inQueue = meter.createHistogram('rate_limiting.request.time_in_queue', {
    ...SECONDS,
    description: 'How long requests waited in line.',
  });
  const calls = meter.createHistogram('rate_limiting.store.duration', {
    ...SECONDS,
    description: 'How long calls of the store took.',
  });

  return listen({
    [DECISION]: (decision: DecisionMessage) => {
      // What waits is counted when its wait is over, so that it counts once.
      if (decision.delay > 0) return;
      requests.add(1, attributesOf(decision, decision.allowed ? 'acquired' : 'limited'));
    },
    [WAIT]: ({ decision, end, waited }: WaitMessage) => {
      queued.add(end ? -1 : 1, { 'rate_limiting.policy': decision.policy });
      if (!end) return;
      const result = end === 'passed' ? 'acquired' : 'request_canceled';
      requests.add(1, attributesOf(decision, result));
      inQueue.record(waited / 1000, { 'rate_limiting.policy': decision.policy, 'rate_limiting.result': result });
    },
    [FAILURE]: ({ policy, transport, error }: FailureMessage) => {
      requests.add(1, {
        'rate_limiting.policy': policy,
        'rate_limiting.result': 'error',
        'rate_limiting.transport': transport,
        'error.type': error.name,
      });
    },
    [STORE]: ({ verb, store, duration, error }: StoreMessage) => {
      const failed = error && { 'error.type': error.name };
      calls.record(duration / 1000, { 'rate_limiting.store': store, 'rate_limiting.store.operation': verb, ...failed });
    },
  });
}

function attributesOf({ policy, source, dryRun, transport }: DecisionMessage, result: string): Attributes {
  return {
    'rate_limiting.policy': policy,
    'rate_limiting.result': result,
    'rate_limiting.source': source,
    'rate_limiting.transport': transport,
    // Only where it is so: then sums over what really happened leave it out by its presence.
    ...(dryRun && { 'rate_limiting.dry_run': true }),
  };
}

function listen(listeners: Readonly<Record<string, (message: never) => void>>): () => void {
  const all = Object.entries(listeners) as [string, (message: unknown) => void][];
  for (const [name, listener] of all) subscribe(name, listener);
  return () => {
    for (const [name, listener] of all) unsubscribe(name, listener);
  };
}

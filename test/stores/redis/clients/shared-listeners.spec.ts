import type { EventEmitter } from 'node:events';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { type RedisClient, RedisStore } from 'nest-rate-limit';
import { parsePolicy } from '../../../../src/core/policy.js';
import { CLIENTS, CLUSTER_CLIENTS, OWN_IOREDIS } from '../../../support/redis-clients.js';

const POLICY = parsePolicy({ capacity: 1, refill: 0 }, 'listeners');
const closings: (() => unknown)[] = [];

Logger.overrideLogger(false);
afterEach(() => {
  for (const close of closings.splice(0)) close();
});

/** The number of listeners of each event. */
const countsOf = (client: EventEmitter) =>
  Object.fromEntries(client.eventNames().map((name) => [name, client.listenerCount(name)]));

/** Without the connection that the module opens itself, and GLIDE, which emits nothing. */
const EMITTERS = [OWN_IOREDIS, CLIENTS[1], CLUSTER_CLIENTS[0], CLUSTER_CLIENTS[1]];

describe.each(EMITTERS)('Fifty stores on one client: $name', ({ open }) => {
  it('share one listener of each event, which the last of them removes', async () => {
    // No server listens there, so the clients keep connecting.
    const opened = [await open('redis://127.0.0.1:1'), await open('redis://127.0.0.1:1')];
    closings.push(...opened.map(({ close }) => close));
    const clients = opened.map(({ redis }) => redis as unknown as EventEmitter & RedisClient);
    const [client, subscriber] = clients;
    const before = clients.map(countsOf);
    const stores = Array.from({ length: 50 }, () => {
      const store = new RedisStore({ client, subscriber, timeout: 50 });
      store.subscribe(POLICY, 'key', () => {});
      return store;
    });
    const during = clients.map(countsOf);
    expect(during).not.toEqual(before);
    for (const [i, counts] of during.entries()) {
      for (const [name, count] of Object.entries(counts)) expect(count - (before[i][name] ?? 0)).toBeLessThanOrEqual(1);
    }
    for (const store of stores) store.close();
    expect(clients.map(countsOf)).toEqual(before);
  });
});

import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { byIp, RateLimitModule } from 'nest-rate-limit';
import { type Served, TRANSPORTS } from '../support/disconnecting.js';
import { handlersOf } from '../support/handlers.js';
import { until } from '../support/requests.js';

const TWO = { name: 'send', maxRequest: 2, unit: 'hours' } as const;
const CONNECTIONS = 5;
const MESSAGES = 20;

/** graphql-ws itself prints an error for each result that it cannot send to a reset connection. */
const NAMES = Object.keys(TRANSPORTS).filter((name) => !name.startsWith('subscriptions'));

describe.each(NAMES)('Clients that reset their connections: %s', (name) => {
  let served: Served;
  afterEach(async () => {
    await served.app.close();
    jest.restoreAllMocks();
  });

  it.each([
    ['the default key', undefined],
    ['byIp()', byIp()],
  ])('are limited by %s, and log no error', async (_, key) => {
    let runs = 0;
    const errors = jest.spyOn(Logger.prototype, 'error').mockImplementation(() => {});
    const warnings = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
    const handlers = handlersOf(name, [{ ...TWO, key }], () => ++runs);
    served = await TRANSPORTS[name]({ imports: [RateLimitModule.forRoot()], ...handlers });
    for (let i = 1; i <= CONNECTIONS; i++) {
      const { socket, call } = await served.connect();
      socket.cork();
      for (let message = 0; message < MESSAGES; message++) call('send');
      socket.uncork();
      socket.resetAndDestroy();
      await until(() => served.connections.accepted === i && served.connections.sockets === 0);
    }
    expect(runs).toBeLessThanOrEqual(2);
    // Nest's TCP server logs each connection that it loses.
    const ofConnections = /message from tcp server/;
    expect(errors.mock.calls.filter(([error]) => !ofConnections.test(String(error)))).toEqual([]);
    expect(warnings.mock.calls).toEqual([]);
  });
});

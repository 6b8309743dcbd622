import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { onDisconnect } from '../../src/context/connection.js';
import { byIp, byUser } from '../../src/keys/keys.js';

/** Returns the execution context of a GraphQL field; the fields of a query share one response. */
function fieldOf(res: ServerResponse): ExecutionContextHost {
  const req = { ip: '203.0.113.7', headers: {} };
  const context = new ExecutionContextHost([{}, {}, { req, res }, {}]);
  context.setType('graphql');
  return context;
}

describe('Connections of a GraphQL query with many fields', () => {
  const response = () => new ServerResponse(new IncomingMessage(new Socket()));

  it('adds one listener to the response, and notifies every field of a disconnect', () => {
    const res = response();
    const notified: number[] = [];
    const stops = Array.from({ length: 30 }, (_, i) => onDisconnect(fieldOf(res), () => notified.push(i)));
    expect(res.listenerCount('close')).toBe(1);
    stops[1]();
    res.emit('close');
    expect(notified).toEqual([...Array(30).keys()].filter((i) => i !== 1));
  });

  it('adds one listener when byUser reads the context of every field', () => {
    const res = response();
    const key = byUser('id', byIp());
    for (let i = 0; i < 30; i++) expect(key(fieldOf(res))).toBe('@203.0.113.7');
    expect(res.listenerCount('close')).toBe(1);
  });
});

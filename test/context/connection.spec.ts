import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { whenGone } from '../../src/context/connection.js';
import { byIp, byUser } from '../../src/keys/keys.js';

/** The execution of a field; those of one query have the response in common. */
function fieldOf(res: ServerResponse): ExecutionContextHost {
  const req = { ip: '203.0.113.7', headers: {} };
  const context = new ExecutionContextHost([{}, {}, { req, res }, {}]);
  context.setType('graphql');
  return context;
}

describe('a query of many fields', () => {
  const response = () => new ServerResponse(new IncomingMessage(new Socket()));

  it('listens to its response once, and tells each field that its client has gone', () => {
    const res = response();
    const gone: number[] = [];
    const stops = Array.from({ length: 30 }, (_, i) => whenGone(fieldOf(res), () => gone.push(i)));
    expect(res.listenerCount('close')).toBe(1);
    stops[1]();
    res.emit('close');
    expect(gone).toEqual([...Array(30).keys()].filter((i) => i !== 1));
  });

  it('listens once for a user who comes late', () => {
    const res = response();
    const key = byUser('id', byIp());
    for (let i = 0; i < 30; i++) expect(key(fieldOf(res))).toBe('@203.0.113.7');
    expect(res.listenerCount('close')).toBe(1);
  });
});

import { describe, expect, it, jest } from '@jest/globals';
import type { ExecutionContext } from '@nestjs/common';
import type { HttpAdapterHost } from '@nestjs/core';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import {
  ClientGoneError,
  type Decision,
  RateLimitExceededException,
  RateLimitUnavailableException,
} from 'nest-rate-limit';
import { OutboundLimitExceededException } from 'nest-rate-limit/outbound';
import { isObservable, lastValueFrom } from 'rxjs';
import { MissingHeaderException } from '../../src/exceptions/rate-limit.exception.js';
import { RejectionFilter } from '../../src/transport/rejection.filter.js';

const filter = new RejectionFilter({} as HttpAdapterHost);
const exceeded = new RateLimitExceededException({ retryAfter: 500 } as Decision);
const unavailable = new RateLimitUnavailableException(new Error('ECONNREFUSED'));
const outbound = new OutboundLimitExceededException('supplier', 7000);
const complete = Object.assign(new RateLimitExceededException({ retryAfter: 500 } as Decision), { extensions: {} });

function contextOf(type: string): ExecutionContext {
  const context = new ExecutionContextHost([{}, {}, {}, {}]);
  context.setType(type);
  return context;
}

/** What the filter returns; of an Observable its error, which Nest sends to the caller. */
async function caught(type: string, exception: Parameters<RejectionFilter['catch']>[0]): Promise<unknown> {
  const answer = filter.catch(exception, contextOf(type));
  return isObservable(answer) ? { sent: await lastValueFrom(answer).catch((error) => error) } : answer;
}

describe('RejectionFilter', () => {
  it.each([
    ['rpc', exceeded, { sent: { status: 'error', message: 'Too Many Requests', retryAfter: 500 } }],
    [
      'rpc',
      unavailable,
      { sent: { status: 'error', message: 'Rate limiting is temporarily unavailable', retryAfter: 1000 } },
    ],
    [
      'rpc',
      new ClientGoneError(),
      { sent: { status: 'error', message: 'Client disconnected before it was answered' } },
    ],
    ['graphql', exceeded, { extensions: { code: 'TOO_MANY_REQUESTS', http: { status: 429 }, retryAfter: 500 } }],
    [
      'rpc',
      outbound,
      { sent: { status: 'error', message: 'The limit of calls to another service is reached', retryAfter: 7000 } },
    ],
    ['graphql', outbound, { extensions: { code: 'SERVICE_UNAVAILABLE', http: { status: 503 }, retryAfter: 7000 } }],
    ['graphql', unavailable, { extensions: { code: 'SERVICE_UNAVAILABLE', http: { status: 503 }, retryAfter: 1000 } }],
  ])('answers over %s: %s', async (type, exception, answer) => {
    expect(await caught(type, exception)).toMatchObject(answer);
  });

  it.each([
    ['graphql', complete],
    ['graphql', new ClientGoneError()],
    ['rpc', new MissingHeaderException('x-api-key')],
    ['telegraf', exceeded],
  ])('leaves it to Nest over %s: %s', async (type, exception) => {
    expect(await caught(type, exception)).toBeUndefined();
  });

  it.each([
    ['exceeded', exceeded, 500],
    ['unavailable', unavailable, 1000],
  ])("sends an event to a gateway's client: %s", (_, exception, retryAfter) => {
    const emit = jest.fn();
    const context = new ExecutionContextHost([{ emit }, {}]);
    context.setType('ws');
    expect(filter.catch(exception, context)).toBeUndefined();
    expect(emit.mock.calls).toMatchObject([['exception', { status: 'error', retryAfter }]]);
  });

  it('sends nothing to a client of a gateway that has disconnected', () => {
    const emit = jest.fn();
    const context = new ExecutionContextHost([{ emit }, {}]);
    context.setType('ws');
    expect(filter.catch(new ClientGoneError(), context)).toBeUndefined();
    expect(emit).not.toHaveBeenCalled();
  });
});

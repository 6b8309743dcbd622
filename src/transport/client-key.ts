import type { ExecutionContext } from '@nestjs/common';
import { requestOf } from '../suspend/http.js';
import { addressKey } from './address.js';

type Loose = { readonly [name: string]: unknown } | null | undefined;

/** Addresses seen lately, as they came, and their keys. A bound, because strangers choose them. */
const known = new Map<string, string>();
const MOST_KNOWN = 10_000;
/** No address is longer, but what a client claims behind a proxy that is trusted too much may be. */
const LONGEST_KNOWN = 64;

/**
 * The default key: the client's address, whatever the transport. Over HTTP that is `request.ip`, so it is the
 * framework that decides which proxy is trusted. `undefined` where there is no address.
 */
export function clientKey(context: ExecutionContext): string | undefined {
  const address = addressOf(context);
  if (address === undefined) return undefined;
  if (address.length > LONGEST_KNOWN) return addressKey(address);
  let key = known.get(address);
  if (key === undefined) {
    key = addressKey(address);
    if (known.size >= MOST_KNOWN) known.clear();
    known.set(address, key);
  }
  return key;
}

function addressOf(context: ExecutionContext): string | undefined {
  switch (context.getType<string>()) {
    case 'http':
      return ofRequest(requestOf<Loose>(context));
    case 'graphql': {
      const shared = context.getArgByIndex<Loose>(2);
      return ofRequest((shared?.req ?? shared?.request) as Loose);
    }
    case 'ws': {
      const client = context.switchToWs().getClient<Loose>();
      return text((client?.handshake as Loose)?.address) ?? text((client?._socket as Loose)?.remoteAddress);
    }
    default: {
      const shared = context.switchToRpc().getContext<{ getSocketRef?(): { socket?: Loose } } | undefined>();
      return text(shared?.getSocketRef?.().socket?.remoteAddress);
    }
  }
}

function ofRequest(request: Loose): string | undefined {
  return text(request?.ip) ?? text((request?.socket as Loose)?.remoteAddress);
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

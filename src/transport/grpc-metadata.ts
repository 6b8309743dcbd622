import type { GrpcCall, GrpcMetadata } from '../context/grpc.js';
import { retrySeconds } from './header-formats.js';

interface Status {
  readonly code: number;
  readonly message: string;
}

/** Milliseconds in the longest delay that all clients parse: a signed integer of 32 bits. */
const LONGEST = 2 ** 31 - 1;

/**
 * The hints for retries: `retry-after` in seconds, for people and gateways; `grpc-retry-pushback-ms`, which clients with a
 * retry policy obey; and `RetryInfo` of google.rpc in `grpc-status-details-bin`. If no retry can succeed, only the second
 * one, which then forbids retries. `Metadata` is the class of the call's own metadata, so it need not be imported.
 */
export function retryMetadata(
  call: GrpcCall | undefined,
  status: Status,
  retryAfter: number,
): GrpcMetadata | undefined {
  if (!call) return undefined;
  const metadata = new (call.metadata.constructor as new () => GrpcMetadata)();
  const ms = Math.min(Math.ceil(retryAfter), LONGEST);
  metadata.set('grpc-retry-pushback-ms', String(retryAfter === Infinity ? -1 : ms));
  if (retryAfter === Infinity) return metadata;
  metadata.set('retry-after', String(retrySeconds(retryAfter)));
  metadata.set('grpc-status-details-bin', statusDetails(status, ms));
  return metadata;
}

/** `google.rpc.Status` with a `google.rpc.RetryInfo`, in the encoding of Protocol Buffers. */
function statusDetails({ code, message }: Status, ms: number): Buffer {
  const delay = Buffer.concat([varintField(1, Math.floor(ms / 1000)), varintField(2, (ms % 1000) * 1_000_000)]);
  const any = Buffer.concat([
    bytesField(1, Buffer.from('type.googleapis.com/google.rpc.RetryInfo')),
    bytesField(2, bytesField(1, delay)),
  ]);
  return Buffer.concat([varintField(1, code), bytesField(2, Buffer.from(message)), bytesField(3, any)]);
}

function varintField(field: number, value: number): Buffer {
  return Buffer.from([field << 3, ...varint(value)]);
}

function bytesField(field: number, bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(field << 3) | 2, ...varint(bytes.length)]), bytes]);
}

/** Seven bits per byte, the lowest ones first. */
function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))];
}

import type { RedisClient } from './clients/redis-client.js';
import type { Socket } from './sent-command.js';

/** The connections of an ioredis client. Only a part of this is public, so everything may be missing. */
interface Connections {
  readonly stream?: Socket;
  /** Of a Cluster: for each slot the names of its nodes, the master first. */
  readonly slots?: readonly (readonly string[] | undefined)[];
  readonly connectionPool?: { getInstanceByKey?(name: string): Connections | undefined };
}

/** The node of a Cluster that keeps the keys with this hash tag; `undefined` if it is unknown or there is no Cluster. */
export function nodeOf(client: RedisClient, tag: string): string | undefined {
  return client.isCluster ? (client as Connections).slots?.[keySlot(tag)]?.[0] : undefined;
}

/** The socket of the connection to a node; of a client without a Cluster that of its only connection. */
export function socketOf(client: RedisClient, node: string | undefined): Socket | undefined {
  const connections = client as Connections;
  if (!client.isCluster) return connections.stream;
  return node === undefined ? undefined : connections.connectionPool?.getInstanceByKey?.(node)?.stream;
}

const SLOTS = 16_384;
/** The generator polynomial of CRC-16/XMODEM. */
const POLYNOMIAL = 0x1021;

/** The remainders of all bytes. */
const REMAINDERS = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ POLYNOMIAL : crc << 1;
  return crc;
});

/** The slot of a hash tag, which is ASCII. */
export function keySlot(tag: string): number {
  let crc = 0;
  for (let i = 0; i < tag.length; i++)
    crc = ((crc << 8) ^ REMAINDERS[((crc >> 8) ^ tag.charCodeAt(i)) & 0xff]) & 0xffff;
  return crc % SLOTS;
}

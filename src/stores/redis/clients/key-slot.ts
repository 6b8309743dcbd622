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

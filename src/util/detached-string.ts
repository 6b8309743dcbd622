/** V8 copies shorter substrings itself. */
const SHORTEST_SLICE = 13;

/**
 * A copy of a string that is kept. A key cut from a URL, a header or a cookie is a slice that keeps the whole text in
 * memory: a bucket of 80 bytes could hold a header of 15 kB.
 */
export function detachedString(text: string): string {
  if (text.length < SHORTEST_SLICE) return text;
  const copy = Buffer.from(text, 'latin1').toString('latin1');
  // UTF-16 keeps lone surrogates, which UTF-8 replaces.
  return copy === text ? copy : Buffer.from(text, 'utf16le').toString('utf16le');
}

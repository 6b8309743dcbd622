import { RATE_LIMIT, REDIS_STORAGES, THROTTLER } from './names.js';

/** The range of nest-rate-limit that converted code needs. */
const RANGE = '^0.1.0';

/**
 * Returns the text of a package.json with nest-rate-limit instead of the packages that are not imported any more, or
 * beside @nestjs/throttler while it is. Only their lines change.
 */
export function updateManifest(text: string, stillImported: ReadonlySet<string>): string {
  const line = new RegExp(`^([ \\t]*)"${THROTTLER}"\\s*:\\s*"[^"]*"(,?)(\\r?\\n)`, 'm');
  const own = new RegExp(`"${RATE_LIMIT}"\\s*:`);
  let result = text;
  if (!own.test(text)) {
    result = result.replace(line, (found, indent, comma, end) => {
      const added = `${indent}"${RATE_LIMIT}": "${RANGE}"`;
      return stillImported.has(THROTTLER) ? `${added},${end}${found}` : `${added}${comma}${end}`;
    });
  } else if (!stillImported.has(THROTTLER)) result = withoutLine(result, THROTTLER);
  for (const storage of REDIS_STORAGES) if (!stillImported.has(storage)) result = withoutLine(result, storage);
  return result;
}

function withoutLine(text: string, name: string): string {
  const last = new RegExp(`,(\\s*)"${name}"\\s*:\\s*"[^"]*"(?=\\s*\\})`);
  return last.test(text)
    ? text.replace(last, '')
    : text.replace(new RegExp(`^[ \\t]*"${name}"\\s*:\\s*"[^"]*",\\r?\\n`, 'm'), '');
}

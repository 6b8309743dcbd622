import { OPTION_NAMES } from './policy-options.js';

/** How to fix a wrong result of a resolver of policies, for the end of an error message; empty if the error says it. */
export function fixOf(result: unknown): string {
  if (result === undefined || result === null) {
    return '. To exempt the request, return a limit of Infinity, or true from `skip`';
  }
  if (Array.isArray(result)) return '. Return several limits as `limits`; several policies need one @RateLimit each';
  if (typeof result !== 'object') return '';
  const options = result as Readonly<Record<string, unknown>>;
  if (Object.keys(options).some((name) => !OPTION_NAMES.includes(name))) return '. Return an object with options only';
  return '';
}

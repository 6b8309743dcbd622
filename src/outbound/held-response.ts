import { type BodyHold, holdBody } from './held-body.js';
import type { HeaderReader, UpstreamResponse } from './upstream-wait.js';

/** Holds a slot until the body of a response has ended. Returns the response to use in its place. */
export function holdResponse<R extends UpstreamResponse>(response: R, hold: BodyHold): R {
  const original = response as unknown as Response;
  if (isEmpty(response) || original.bodyUsed) {
    void hold.slot.release();
    return response;
  }
  const body = holdBody(original.body, hold) as Response['body'];
  if (body === original.body) return response;
  // That of undici, or of a mock, is not the global one.
  const SameClass = original.constructor as typeof Response;
  return withOrigin(new SameClass(body, original), original) as unknown as R;
}

/** Whether a response has no body, although it may have a stream. */
export function isEmpty({ status, headers }: { readonly status: number; readonly headers: HeaderReader }): boolean {
  return status === 204 || status === 304 || String(headers.get('content-length')) === '0';
}

/** Gives a copy of a response, and its clones, what a constructor cannot set. It keeps the original from being collected. */
function withOrigin(copy: Response, original: Response): Response {
  const { url, redirected, type } = original;
  const clone = () => withOrigin(original.clone.call(copy), original);
  const own = Object.entries({ url, redirected, type, clone });
  for (const [name, value] of own) Object.defineProperty(copy, name, { value, configurable: true });
  return copy;
}

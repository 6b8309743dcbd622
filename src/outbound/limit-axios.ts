import type { Bucket } from '../bucket/bucket.js';
import { withErrorPrefix } from '../util/option-error.js';
import type { OutboundOptions } from './outbound.options.js';
import { OutboundLimit } from './outbound-limit.js';
import type { HeaderReader } from './upstream-wait.js';

/** Interceptors of one kind, as axios has them. */
export interface Interceptors<T> {
  use(fulfilled: (value: T) => T | Promise<T>, rejected?: (error: unknown) => unknown): number;
  eject(id: number): void;
}

/** What is read of the configuration of a call. */
interface AxiosCall {
  readonly signal?: unknown;
}

/** What is read of a response of axios. */
interface AxiosAnswer {
  readonly status: number;
  readonly headers: object;
}

/** An instance of axios, of any version that has interceptors. */
export interface AxiosLike<Config, Response> {
  readonly interceptors: { readonly request: Interceptors<Config>; readonly response: Interceptors<Response> };
}

/**
 * Limits the calls of an instance of axios, such as `httpService.axiosRef`, as `limitFetch` limits those of `fetch`.
 * Returns a function that removes the limit.
 *
 * Call it before other interceptors are added: axios then runs it immediately before a call is sent, and it sees an answer
 * before an interceptor that retries.
 *
 * ```ts
 * limitAxios(httpService.axiosRef, bucket, { maxWait: '10s' });
 * ```
 */
export function limitAxios<Config extends AxiosCall, Response extends AxiosAnswer>(
  axios: AxiosLike<Config, Response>,
  bucket: Bucket,
  options: OutboundOptions,
): () => void {
  const limit = withErrorPrefix('Invalid limitAxios', () => new OutboundLimit(bucket, options));
  const { request, response } = axios.interceptors;
  const waiting = request.use(async (config) => {
    await limit.wait(config.signal as AbortSignal | undefined);
    return config;
  });
  const observe = ({ status, headers }: AxiosAnswer) => limit.observe({ status, headers: readerOf(headers) });
  const observing = response.use(
    async (answer) => {
      await observe(answer);
      return answer;
    },
    async (error) => {
      // Other errors may have a `response` of their own, as the exceptions of Nest.
      const { response: answer } = (error ?? {}) as { response?: Partial<AxiosAnswer> };
      if (answer?.status && answer.headers) await observe(answer as AxiosAnswer);
      throw error;
    },
  );
  return () => {
    request.eject(waiting);
    response.eject(observing);
  };
}

/** Before version 1 headers were an object with names in lower case. */
function readerOf(headers: object): HeaderReader {
  return 'get' in headers ? (headers as HeaderReader) : { get: (name) => (headers as Record<string, unknown>)[name] };
}

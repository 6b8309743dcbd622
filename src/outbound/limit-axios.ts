import type { Bucket } from '../bucket/bucket.js';
import type { Slot } from '../concurrency/slot.js';
import { withErrorPrefix } from '../util/option-error.js';
import { holdBody } from './held-body.js';
import { isEmpty } from './held-response.js';
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
  readonly method?: string;
}

/** What is read of a response of axios. */
interface AxiosAnswer {
  readonly status: number;
  readonly headers: object;
  readonly config: AxiosCall;
  /** The body: a stream if the call has requested one, otherwise the content. */
  data: unknown;
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
  const slots = new CallSlots();
  const waiting = request.use(async (config) => {
    const slot = await limit.wait(config.signal as AbortSignal | undefined);
    if (slot) slots.add(config, slot);
    return config;
  });
  const observe = async (answer: AxiosAnswer, config: AxiosCall | undefined) => {
    const { status } = answer;
    const headers = readerOf(answer.headers);
    await limit.observe({ status, headers });
    const slot = slots.remove(config);
    if (!slot) return;
    if (isEmpty({ status, headers }) || config?.method?.toLowerCase() === 'head') void slot.release();
    else answer.data = holdBody(answer.data, limit.holdOf(slot));
  };
  const observing = response.use(
    async (answer) => {
      await observe(answer, answer.config);
      return answer;
    },
    async (error) => {
      // Other errors may have a `response` of their own, as the exceptions of Nest.
      const { response: answer, config } = (error ?? {}) as { response?: Partial<AxiosAnswer>; config?: AxiosCall };
      if (answer?.status && answer.headers) await observe(answer as AxiosAnswer, config);
      else void slots.remove(config)?.release();
      throw error;
    },
  );
  return () => {
    request.eject(waiting);
    response.eject(observing);
  };
}

/** The slots of the calls that are under way, by their configurations. */
class CallSlots {
  private readonly slots = new WeakMap<AxiosCall, Slot>();
  /** An interceptor of the caller may fail with an error that does not say which call it was. */
  private readonly forgotten = new FinalizationRegistry<Slot>((slot) => void slot.release());

  add(config: AxiosCall, slot: Slot): void {
    this.slots.set(config, slot);
    this.forgotten.register(config, slot, slot);
  }

  remove(config: AxiosCall | undefined): Slot | undefined {
    const slot = config && this.slots.get(config);
    if (!slot) return undefined;
    this.slots.delete(config);
    this.forgotten.unregister(slot);
    return slot;
  }
}

/** Before version 1 headers were an object with names in lower case. */
function readerOf(headers: object): HeaderReader {
  return 'get' in headers ? (headers as HeaderReader) : { get: (name) => (headers as Record<string, unknown>)[name] };
}

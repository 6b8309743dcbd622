export { type AxiosLike, type Interceptors, limitAxios } from './limit-axios.js';
export { type FetchFunction, type LimitFetchOptions, limitFetch } from './limit-fetch.js';
export type { OutboundOptions } from './outbound.options.js';
export { OutboundLimitExceededException } from './outbound-limit.exception.js';

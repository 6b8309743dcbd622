export { ApiRateLimit, type ApiRateLimitOptions } from './api-rate-limit.js';

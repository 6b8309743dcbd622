export { RateLimitMetricsModule } from './metrics.module.js';
export { recordRateLimits } from './record.js';

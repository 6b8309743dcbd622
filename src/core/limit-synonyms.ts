const MILLISECONDS = "`duration` with `unit: 'milliseconds'`";

/** What the options of other rate limiters are called here, for the message about an unknown option. */
export const LIMIT_SYNONYMS: Readonly<Record<string, string>> = {
  limit: '`maxRequest`',
  max: '`maxRequest`',
  points: '`maxRequest`',
  ttl: MILLISECONDS,
  windowMs: MILLISECONDS,
  interval: '`duration`',
  burst: '`capacity`',
  tokens: '`capacity`',
  tokensPerInterval: '`refill`',
  refillRate: '`refill`',
  maxConcurrent: '`concurrency`',
  permits: '`concurrency`',
  tz: '`timeZone`',
};

import type { RedisOptions } from 'ioredis';
import { nearest } from '../../../util/nearest.js';
import { invalidOption, invalidSecretOption, RateLimitOptionError } from '../../../util/option-error.js';

type Kind = 'number' | 'boolean' | 'string' | 'other';

/** All options of ioredis. The compiler reports a missing one. */
const KINDS: Readonly<Record<keyof RedisOptions, Kind>> = {
  Connector: 'other',
  autoPipeliningIgnoredCommands: 'other',
  autoResendUnfulfilledCommands: 'boolean',
  autoResubscribe: 'boolean',
  blockingTimeout: 'number',
  blockingTimeoutGrace: 'number',
  clientInfoTag: 'string',
  commandQueue: 'boolean',
  commandTimeout: 'number',
  connectTimeout: 'number',
  connectionName: 'string',
  db: 'number',
  disableClientInfo: 'boolean',
  disconnectTimeout: 'number',
  enableAutoPipelining: 'boolean',
  enableOfflineQueue: 'boolean',
  enableReadyCheck: 'boolean',
  enableTLSForSentinelMode: 'boolean',
  failoverDetector: 'boolean',
  family: 'number',
  himportFieldsets: 'other',
  host: 'string',
  keepAlive: 'number',
  keyPrefix: 'string',
  lazyConnect: 'boolean',
  maxLoadingRetryTime: 'number',
  maxRetriesPerRequest: 'number',
  monitor: 'boolean',
  name: 'string',
  natMap: 'other',
  noDelay: 'boolean',
  offlineQueue: 'boolean',
  password: 'string',
  path: 'string',
  port: 'number',
  preferredSlaves: 'other',
  protocol: 'number',
  readOnly: 'boolean',
  reconnectOnError: 'other',
  replyMapping: 'string',
  retryStrategy: 'other',
  role: 'string',
  scripts: 'other',
  sentinelCommandTimeout: 'number',
  sentinelMaxConnections: 'number',
  sentinelPassword: 'string',
  sentinelReconnectStrategy: 'other',
  sentinelRetryStrategy: 'other',
  sentinelTLS: 'other',
  sentinelUsername: 'string',
  sentinels: 'other',
  showFriendlyErrorStack: 'boolean',
  socketTimeout: 'number',
  stringNumbers: 'boolean',
  tls: 'other',
  updateSentinels: 'boolean',
  username: 'string',
};

const NAMES = Object.keys(KINDS);

/** What is meant by options of other clients, and of `Cluster`. */
const SYNONYMS: Readonly<Record<string, string>> = {
  url: "the URL itself, as in `redis: 'redis://…'`",
  uri: "the URL itself, as in `redis: 'redis://…'`",
  connectionString: "the URL itself, as in `redis: 'redis://…'`",
  socket: '`host` and `port`, `path` or `tls`, without `socket` around them',
  database: '`db`',
  hostname: '`host`',
  user: '`username`',
  pass: '`password`',
  auth: '`password`',
  ssl: '`tls`',
  disableOfflineQueue: '`enableOfflineQueue: false`',
  RESP: '`protocol`',
  ...Object.fromEntries(
    ['nodes', 'rootNodes', 'redisOptions', 'clusterRetryStrategy', 'scaleReads', 'slotsRefreshTimeout'].map((name) => [
      name,
      'a `Cluster` of ioredis, as in `redis: new Cluster([{ host, port }])`',
    ]),
  ),
};

/**
 * Checks options of ioredis, which ignores unknown names and connects to localhost without an address. Numbers and
 * booleans may be strings, as in a URL or the environment; `undefined` is the default. `place` is their name in errors.
 */
export function parseIoredisOptions(options: object, place: string): RedisOptions {
  checkNames(options, place);
  const parsed: Partial<Record<keyof RedisOptions, unknown>> = {};
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined) parsed[name as keyof RedisOptions] = parseValue(name as keyof RedisOptions, value, place);
  }
  checkAddress(options, parsed as RedisOptions, place);
  return parsed as RedisOptions;
}

/** Unlike `checkOptionNames`, does not list the names of ioredis, of which later versions may have more. */
function checkNames(options: object, place: string): void {
  const name = Object.keys(options).find((one) => !Object.hasOwn(KINDS, one));
  if (name === undefined) return;
  const similar = nearest(name, NAMES);
  const meant = Object.hasOwn(SYNONYMS, name) ? SYNONYMS[name] : similar && `\`${similar}\``;
  const hint = meant
    ? `. Did you mean ${meant}?`
    : '; if your version has it, pass a client: `redis: new Redis({ … })`';
  throw new RateLimitOptionError(`${place}: ioredis has no option \`${name}\`${hint}`);
}

function parseValue(name: keyof RedisOptions, value: unknown, place: string): unknown {
  const option = `${place}.${name}`;
  switch (KINDS[name]) {
    case 'number':
      return parseNumber(name, value, option);
    case 'boolean':
      if (value === true || value === 'true') return true;
      if (value === false || value === 'false') return false;
      return invalidOption(option, 'true or false', value);
    case 'string':
      if (typeof value === 'string' || value === null) return value;
      throw new RateLimitOptionError(`\`${option}\` must be a string, got a value of type ${typeof value}`);
    default:
      return value;
  }
}

function parseNumber(name: keyof RedisOptions, value: unknown, option: string): number | null {
  const canBeNull = name === 'maxRetriesPerRequest';
  if (canBeNull && (value === null || value === 'null')) return null;
  const number = typeof value === 'string' && /^\d{1,10}$/.test(value) ? Number(value) : value;
  const most = name === 'port' ? 65_535 : 2 ** 31 - 1;
  if (Number.isInteger(number) && (number as number) >= 0 && (number as number) <= most) return number as number;
  return invalidOption(option, `a whole number${canBeNull ? ' or null' : ` of at most ${most}`}`, value);
}

/** Throws unless the options name a server. An address that is `undefined` comes from a variable that is not set. */
function checkAddress(options: object, parsed: RedisOptions, place: string): void {
  const { host, path, sentinels, name, Connector } = parsed;
  for (const [option, value] of Object.entries({ host, path })) {
    if (value === '' || value === null) invalidOption(`${place}.${option}`, 'a non-empty string', value);
  }
  if (sentinels) return checkSentinels(sentinels, name, place);
  if (host || path || Connector) return;
  if ('host' in options) invalidOption(`${place}.host`, 'a non-empty string', undefined);
  invalidSecretOption(place, 'options with a `host`, `path` or `sentinels`', options);
}

function checkSentinels(sentinels: unknown, name: string | undefined, place: string): void {
  const named = (one: unknown): boolean => typeof (one as { host?: unknown } | null)?.host === 'string';
  if (!Array.isArray(sentinels) || sentinels.length === 0 || !sentinels.every(named)) {
    invalidSecretOption(`${place}.sentinels`, 'a list of { host, port }', sentinels);
  }
  if (!name) invalidOption(`${place}.name`, 'the name of the master that the Sentinels monitor', name);
}

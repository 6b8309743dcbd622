import { parseTime } from './log-time.js';
import type { LoggedRequest } from './simulate.js';

/** What was read of a log. */
export interface Log {
  /** In the order of their times. */
  readonly requests: readonly LoggedRequest[];
  /** The clients with the most requests, the first one with the most. */
  readonly clients: readonly string[];
  readonly clientCount: number;
  /** Lines that are no requests, and what is wrong with the first of them. */
  readonly unreadable: number;
  readonly problems: readonly string[];
  /** Whether there were more requests than were read. */
  readonly truncated: boolean;
}

const TIME_NAMES = [
  'time',
  'timestamp',
  '@timestamp',
  'ts',
  't',
  'date',
  'datetime',
  'time_local',
  'time_iso8601',
  'msec',
];
const CLIENT_NAMES = [
  'client',
  'client_ip',
  'clientip',
  'ip',
  'remote_addr',
  'remoteaddr',
  'remoteaddress',
  'remote_ip',
  'remoteip',
  'remote_host',
  'host',
  'address',
  'user',
  'user_id',
  'userid',
  'key',
];
/** The client of entries that name none. */
const ANY_CLIENT = 'any client';
const MAX_LINE = 10_000;
const MAX_CLIENT = 64;
const MAX_PROBLEMS = 3;
const MAX_CLIENTS = 50;

const COMMON = /^(\S+) [^[]*\[([^\]]{1,40})\]/;

/** The request of a line; `undefined` for a line without one, such as a header; or what is wrong with it. */
type ReadLine = (line: string) => LoggedRequest | string | undefined;

/** Reads a log of at most `most` requests. The first line decides about the format. */
export function parseLog(text: string, most: number): Log {
  const requests: LoggedRequest[] = [];
  const problems: string[] = [];
  let unreadable = 0;
  let truncated = false;
  let read: ReadLine | undefined;
  let number = 0;
  for (const line of linesOf(text)) {
    number++;
    if (line.trim() === '') continue;
    read ??= readerFor(line);
    const request = line.length > MAX_LINE ? `is longer than ${MAX_LINE} characters` : read(line);
    if (request === undefined) continue;
    if (typeof request === 'string') {
      unreadable++;
      if (problems.length < MAX_PROBLEMS) problems.push(`line ${number} ${request}`);
    } else if (requests.length < most) {
      requests.push(request);
    } else {
      truncated = true;
      break;
    }
  }
  requests.sort((a, b) => a.at - b.at);
  return { requests, ...clientsOf(requests), unreadable, problems, truncated };
}

/** A reader for a log that begins with this line. Call it with each line, also with this one. */
export function readerFor(first: string): ReadLine {
  if (first.trimStart().startsWith('{')) return readJson;
  if (COMMON.test(first)) return readCommon;
  return csvReader(first);
}

function* linesOf(text: string): Generator<string> {
  for (let start = 0; start < text.length; ) {
    const end = text.indexOf('\n', start);
    yield text.slice(start, end < 0 ? text.length : end).replace(/^\ufeff|\r$/g, '');
    if (end < 0) return;
    start = end + 1;
  }
}

const readCommon: ReadLine = (line) => {
  const [, client, time] = COMMON.exec(line) ?? [];
  return time === undefined ? 'has no [time]' : toRequest(time, client);
};

const readJson: ReadLine = (line) => {
  let entry: unknown;
  try {
    entry = JSON.parse(line);
  } catch {
    return 'is not valid JSON';
  }
  if (typeof entry !== 'object' || entry === null) return 'is not a JSON object';
  // Loggers such as pino-http have the client in `req`.
  const { req, request } = entry as Record<string, unknown>;
  const fields = [entry, req, request]
    .flatMap((one) => Object.entries(Object(one)))
    .map(([name, value]) => {
      return [name.toLowerCase(), value] as const;
    });
  const time = fieldIn(fields, TIME_NAMES);
  return time === undefined ? 'has no field for the time' : toRequest(time, fieldIn(fields, CLIENT_NAMES));
};

/** The value of the first of `names` that a field has. */
function fieldIn(fields: readonly (readonly [string, unknown])[], names: readonly string[]): unknown {
  for (const name of names) {
    const [, value] = fields.find(([field, one]) => field === name && typeof one !== 'object') ?? [];
    if (value !== undefined) return value;
  }
  return undefined;
}

function csvReader(first: string): ReadLine {
  const separator = [',', ';', '\t'].find((one) => first.includes(one)) ?? ',';
  const names = cellsOf(first, separator).map((cell) => cell.trim().toLowerCase());
  const hasHeader = parseTime(names[0]) === undefined || TIME_NAMES.some((name) => names.includes(name));
  const time = hasHeader ? columnOf(names, TIME_NAMES) : 0;
  const client = hasHeader ? columnOf(names, CLIENT_NAMES) : 1;
  let isHeader = hasHeader;
  return (line) => {
    if (isHeader) {
      isHeader = false;
      return time < 0 ? `has no column for the time, such as ${TIME_NAMES.slice(0, 2).join(' or ')}` : undefined;
    }
    const cells = cellsOf(line, separator);
    return cells[time] === undefined ? 'has no time' : toRequest(cells[time], cells[client]);
  };
}

function columnOf(names: readonly string[], known: readonly string[]): number {
  return names.indexOf(known.find((name) => names.includes(name)) ?? '');
}

/** The cells of a line; quotes are removed. */
function cellsOf(line: string, separator: string): string[] {
  const cells: string[] = [];
  let cell = '';
  let quoted = false;
  for (let i = 0; i < line.length; i++) {
    if (line[i] === '"' && quoted && line[i + 1] === '"') cell += line[i++];
    else if (line[i] === '"') quoted = !quoted;
    else if (line[i] === separator && !quoted) {
      cells.push(cell);
      cell = '';
    } else cell += line[i];
  }
  return [...cells, cell];
}

function toRequest(time: unknown, client: unknown): LoggedRequest | string {
  const at = parseTime(time);
  return at === undefined ? 'has no valid time' : { at, client: toClient(client) };
}

/** A short name: keys that are long or begin with % would be hashed. */
function toClient(value: unknown): string {
  const name = String(value ?? '')
    .trim()
    .replace(/^%+/, '');
  return name.slice(0, MAX_CLIENT) || ANY_CLIENT;
}

function clientsOf(requests: readonly LoggedRequest[]): Pick<Log, 'clients' | 'clientCount'> {
  const counts = new Map<string, number>();
  for (const { client } of requests) counts.set(client, (counts.get(client) ?? 0) + 1);
  const sorted = [...counts].sort(([, a], [, b]) => b - a).map(([client]) => client);
  return { clients: sorted.slice(0, MAX_CLIENTS), clientCount: counts.size };
}

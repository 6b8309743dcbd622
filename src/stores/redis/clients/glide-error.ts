/** The names that GLIDE gives to errors of servers, and the codes of the protocol. */
const CODES: Readonly<Record<string, string>> = {
  BusyLoadingError: 'LOADING',
  ClusterDown: 'CLUSTERDOWN',
  CrossSlot: 'CROSSSLOT',
  MasterDown: 'MASTERDOWN',
  Moved: 'MOVED',
  NoScriptError: 'NOSCRIPT',
  PermissionDenied: 'NOPERM',
  ReadOnly: 'READONLY',
  ResponseError: 'ERR',
  TryAgain: 'TRYAGAIN',
};

/** `An error was signalled by the server: - NoScriptError: …`, or `OOM: …` for codes without a name. */
const REPLY = /^(?:An error was signalled by the server: - (\w+)|([A-Z]+)): /;

/** An error of a command. One with which a server replied gets the name and the message that it has in ioredis. */
export function toReplyError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const [prefix, name, code = CODES[name] ?? name] = error.message.match(REPLY) ?? [];
  if (prefix === undefined) return error;
  const reply = new Error(`${code} ${error.message.slice(prefix.length)}`, { cause: error });
  reply.name = 'ReplyError';
  return reply;
}

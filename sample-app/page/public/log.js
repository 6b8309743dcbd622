import { at, copyOf, seconds, tokens } from './dom.js';
import { kindOf } from './plot.js';

const SOURCES = { cache: 'cached', fallback: 'decided locally', open: 'allowed unchecked' };
const WAIT_ENDS = { passed: 'admitted', left: 'disconnected', late: 'expired', closed: 'shut down' };
const MAX_LINES = 30;

/** The newest line. It counts further events of the same kind. */
let newest = { kind: '', times: 0 };

function addLine(kind, word, name, note, className) {
  const repeated = kind === newest.kind;
  newest = { kind, times: repeated ? newest.times + 1 : 1 };
  const log = at('log');
  const line = copyOf('decision').firstElementChild;
  line.className = className;
  const texts = [newest.times > 1 ? `${word} × ${newest.times}` : word, name, note];
  for (const [i, element] of [...line.children].entries()) element.textContent = texts[i];
  if (repeated) log.firstElementChild.remove();
  log.prepend(line);
  if (log.children.length > MAX_LINES) log.lastElementChild.remove();
  at('no-decision').hidden = true;
}

export function logDecision(decision) {
  const { policy, bucket, source, end, waited, limit, remaining, dryRun } = decision;
  const kind = end ? 'queued' : kindOf(decision);
  const notes = end
    ? [`after ${seconds(waited)}`]
    : [`${tokens(remaining)} of ${limit} left`, waitOf(decision, kind), SOURCES[source], dryRun && 'dry run'];
  const key = [policy, bucket, source, end, kind].join();
  addLine(key, WAIT_ENDS[end] ?? kind, policy, notes.filter(Boolean).join(', '), kind);
}

function waitOf({ delay, retryAfter }, kind) {
  if (delay > 0) return `waits ${seconds(delay)}`;
  if (kind !== 'rejected') return '';
  if (retryAfter === null) return 'no retry possible';
  return `retry in ${retryAfter < 100 ? `${retryAfter} ms` : seconds(retryAfter)}`;
}

/** Adds a line about the store or the connection. */
export function logState(text, className) {
  addLine(text, text, '', '', className);
}

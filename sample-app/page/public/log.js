import { at, make, seconds } from './dom.js';
import { kindOf } from './history.js';

const SOURCES = {
  store: '',
  cache: 'from the cache of refusals',
  fallback: 'degraded: decided in this process',
  open: 'degraded: allowed without a check',
};
const MAX_LINES = 30;

/** The newest line of the log. It counts further events of the same kind. */
let newest = { kind: '', times: 0 };

function lineOf(event, times) {
  const { policy, limit, remaining, retryAfter, delay, source, end, waited, health, dryRun } = event;
  const kind = health ? (health === 'up' ? 'allowed' : 'degraded') : end ? 'waited' : kindOf(event);
  const line = make(`<li class="${kind}"><b></b><span></span><span></span><span></span></li>`);
  const [word, name, left, note] = line.children;
  if (health) {
    word.textContent = 'store';
    name.textContent = health === 'up' ? 'answers again' : 'does not answer';
    return line;
  }
  word.textContent = end ? (end === 'passed' ? 'its turn' : end) : kind === 'waited' ? 'waits' : kind;
  if (times > 1) word.textContent += ` × ${times}`;
  name.textContent = policy;
  if (!end) left.textContent = `${Math.floor(remaining * 10) / 10} of ${limit} left`;
  const notes = [SOURCES[source], dryRun && 'dry run'];
  if (end) notes.unshift(`after ${seconds(waited)}`);
  else if (delay > 0) notes.unshift(`for ${seconds(delay)}`);
  else if (kind === 'refused')
    notes.unshift(
      retryAfter === null
        ? 'no retry possible'
        : `again in ${retryAfter < 100 ? `${retryAfter} ms` : seconds(retryAfter)}`,
    );
  note.textContent = notes.filter(Boolean).join(', ');
  return line;
}

export function writeLog(events) {
  const log = at('log');
  for (const event of events) {
    const { policy, bucket, source, end, health } = event;
    const kind = [policy, bucket, source, end, health, health || kindOf(event)].join();
    const repeated = kind === newest.kind;
    if (repeated || !newest.times) log.firstElementChild.remove();
    newest = { kind, times: repeated ? newest.times + 1 : 1 };
    log.prepend(lineOf(event, newest.times));
  }
  while (log.children.length > MAX_LINES) log.lastChild.remove();
}

import { at, write } from './dom.js';
import { logState } from './log.js';

const STATES = {
  memory: { status: 'Buckets are in memory', hint: 'Only with REDIS_URL' },
  up: { status: 'Buckets are in Redis', hint: 'Simulates an outage' },
  paused: { status: 'Redis is paused: decisions are local', hint: 'No command is sent' },
  down: { status: 'Redis does not respond: decisions are local', hint: 'Simulates an outage' },
  lost: { status: 'Disconnected from the app; reconnecting', hint: '' },
};
const LOGGED = {
  paused: ['Redis is paused', 'degraded'],
  down: ['Redis does not respond', 'degraded'],
  up: ['Redis responds', 'allowed'],
  lost: ['Disconnected', 'lost'],
};

let shown;

/** Shows where decisions are made: the only place of the page that does. Returns the previous state. */
export function showStore(state) {
  const previous = shown;
  if (state === previous) return previous;
  shown = state;
  write(at('status'), STATES[state].status);
  write(at('hint'), STATES[state].hint);
  document.body.dataset.store = state;
  at('pause').disabled = state === 'memory' || state === 'lost';
  if (state !== 'lost') at('pause').checked = state === 'paused';
  if (previous === 'lost') logState('Connected', 'allowed');
  else if (previous && LOGGED[state]) logState(...LOGGED[state]);
  return previous;
}

at('pause').addEventListener('change', async ({ target }) => {
  const paused = target.checked;
  const { ok } = await fetch('/demo-redis', { method: 'POST', body: new URLSearchParams({ paused }) }).catch(
    () => ({}),
  );
  if (!ok) target.checked = !paused;
});

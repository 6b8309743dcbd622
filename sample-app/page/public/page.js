import { drawBuckets, releaseSlot, resetBuckets, updateBucket } from './buckets.js';
import { at, now, write } from './dom.js';
import { follow } from './feed.js';
import { logDecision } from './log.js';
import { count, drawPlot, kindOf } from './plot.js';
import { drawRetry, Round } from './round.js';
import { nameOf, ROUTES } from './routes.js';
import { showStore } from './store.js';

const FLOOD_TIME = 5000;
/** Concurrent requests of a flood. A browser opens six connections to a server; one is for the events. */
const FLOOD_WORKERS = 4;

const chosen = () => ROUTES[at('route').value];
const burstOf = ({ burst = 30 }) => burst;
for (const [i, route] of ROUTES.entries()) at('route').add(new Option(nameOf(route), i));

function showRoute() {
  write(at('description'), chosen().description);
  write(at('burst'), `Burst of ${burstOf(chosen())}`);
}
at('route').addEventListener('change', showRoute);
showRoute();

// The keyboard can scroll a list that has the focus.
at('buckets').tabIndex = at('log').tabIndex = 0;

/** Clicking a bucket chooses a route of its policy; the list of routes does the same for the keyboard. */
at('buckets').addEventListener('click', ({ target }) => {
  const policy = target.closest('li')?.dataset.policy;
  const route = ROUTES.findIndex((route) => route.policy === policy);
  if (route < 0 || chosen().policy === policy) return;
  at('route').value = route;
  showRoute();
});

/** Counts are shown as they change, but announced to screen readers only at the end. */
async function run(workers, work) {
  const round = new Round(chosen());
  await Promise.all(Array.from({ length: workers }, () => work(round)));
  write(at('announcement'), round.summary());
}
at('one').addEventListener('click', () => run(1, (round) => round.send()));
at('burst').addEventListener('click', () => run(burstOf(chosen()), (round) => round.send()));
at('flood').addEventListener('click', () => {
  const end = now() + FLOOD_TIME;
  run(FLOOD_WORKERS, (round) => round.flood(end));
});

follow({
  onStore: ({ state }) => showStore(state),
  onDecisions: (events) => {
    for (const event of events) {
      if (event.released) {
        releaseSlot(event);
        continue;
      }
      logDecision(event);
      if (event.end) continue;
      updateBucket(event);
      count(kindOf(event));
    }
  },
  onLost: () => {
    if (showStore('lost') !== 'lost') resetBuckets();
  },
});

/** With reduced motion, the plot moves once per second. */
const still = matchMedia('(prefers-reduced-motion: reduce)');
requestAnimationFrame(function draw() {
  const time = now();
  drawBuckets(time, chosen().policy);
  drawPlot(still.matches ? Math.floor(time / 1000) * 1000 : time);
  drawRetry(time);
  requestAnimationFrame(draw);
});

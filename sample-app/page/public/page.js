import { at, now, write } from './dom.js';
import { drawGauges, gaugeOf } from './gauges.js';
import { count, drawPlot, kindOf } from './history.js';
import { writeLog } from './log.js';
import { drawRetry, Round } from './round.js';
import { nameOf, ROUTES } from './routes.js';

const chosen = () => ROUTES[at('route').value];
for (const [i, route] of ROUTES.entries()) at('route').add(new Option(nameOf(route), i));
const burstOf = ({ burst = 30 }) => burst;
const showRoute = () => {
  write(at('idea'), chosen().idea);
  write(at('burst'), `Burst of ${burstOf(chosen())}`);
};
at('route').addEventListener('change', showRoute);
showRoute();

const times = (count, run) => Array.from({ length: count }, run);
at('one').addEventListener('click', () => new Round(chosen()).send());
at('burst').addEventListener('click', () => {
  const round = new Round(chosen());
  times(burstOf(chosen()), () => round.send());
});
at('flood').addEventListener('click', () => {
  const round = new Round(chosen());
  times(4, () => round.flood(now() + 5000));
});
at('pause').addEventListener('change', ({ target }) => {
  fetch('/demo-redis', { method: 'POST', body: new URLSearchParams({ paused: target.checked }) });
});

const source = new EventSource('/events');
source.addEventListener('decisions', ({ data }) => {
  const events = JSON.parse(data);
  for (const event of events) {
    if (event.health || event.end) continue;
    gaugeOf(event).update(event);
    count(kindOf(event));
  }
  writeLog(events);
});
source.addEventListener('redis', ({ data }) => {
  const { state } = JSON.parse(data);
  at('pause').disabled = state === 'none';
  at('pause').checked = state === 'paused';
  at('status').className = state === 'paused' ? 'paused' : 'live';
  at('status').textContent = {
    none: 'Live: buckets are in memory',
    runs: 'Live: buckets are in Redis',
    paused: 'Live: Redis is paused',
  }[state];
  at('why').textContent =
    state === 'none'
      ? 'Not possible: the buckets are in memory. Start the app with REDIS_URL to see what happens when Redis fails.'
      : 'The app stops sending commands to Redis. Until Redis is back, each process decides locally.';
});
source.addEventListener('error', () => {
  at('status').className = 'lost';
  at('status').textContent = 'Disconnected from the app; reconnecting';
});

requestAnimationFrame(function draw() {
  const time = now();
  drawGauges(time);
  drawPlot(time);
  drawRetry(time);
  requestAnimationFrame(draw);
});

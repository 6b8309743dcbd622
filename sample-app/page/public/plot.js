import { at, make, now, write } from './dom.js';

const KINDS = ['allowed', 'queued', 'degraded', 'rejected'];
const MINUTE = 60_000;

/** Numbers of decisions per second, newest last: `{ second, allowed, queued, degraded, rejected }`. */
const history = [];

export function kindOf({ allowed, delay, source, dryRun }) {
  if (!allowed && !dryRun) return 'rejected';
  if (source === 'fallback' || source === 'open') return 'degraded';
  return delay > 0 ? 'queued' : 'allowed';
}

export function count(kind) {
  const second = Math.floor(now() / 1000);
  if (history.at(-1)?.second !== second) history.push({ second, allowed: 0, queued: 0, degraded: 0, rejected: 0 });
  history.at(-1)[kind]++;
}

const plot = at('plot');
function addPath(className) {
  const path = document.createElementNS(plot.namespaceURI, 'path');
  path.classList.add(className);
  plot.append(path);
  return path;
}
addPath('grid').setAttribute('d', 'M0 0H60M0 50H60M15 0V100M30 0V100M45 0V100');
const bars = KINDS.map(addPath);
const totals = KINDS.map((kind) => {
  const total = make('dd', { id: kind, text: '0' });
  const entry = make('div', { className: kind });
  entry.append(make('dt', { text: kind }), total);
  at('counts').append(entry);
  return total;
});
const labels = [0, 1, 2].map(() => make('span'));
at('y-axis').append(...labels);

/** Returns the top of the axis: 4, 10, 20, 40, 100, …, so that its half is a whole number, too. */
function topOf(highest) {
  let top = 4;
  for (let i = 0; top < highest; i++) top *= [2.5, 2, 2][i % 3];
  return top;
}

export function drawPlot(time) {
  while (history.length && history[0].second * 1000 < time - MINUTE) history.shift();
  const sum = (entry) => KINDS.reduce((total, kind) => total + entry[kind], 0);
  const top = topOf(Math.max(0, ...history.map(sum)));
  const bases = history.map(() => 100);
  for (const [i, kind] of KINDS.entries()) {
    let path = '';
    for (const [j, entry] of history.entries()) {
      const height = (entry[kind] / top) * 100;
      bases[j] -= height;
      if (height) path += `M${60 - time / 1000 + entry.second} ${bases[j]}h.85v${height}h-.85z`;
    }
    bars[i].setAttribute('d', path);
    write(totals[i], `${history.reduce((total, entry) => total + entry[kind], 0)}`);
  }
  for (const [i, label] of labels.entries()) write(label, `${(top * (2 - i)) / 2}`);
}

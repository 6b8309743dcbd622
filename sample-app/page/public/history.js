import { at, make, now, write } from './dom.js';

const KINDS = ['allowed', 'waited', 'degraded', 'refused'];
const MINUTE = 60_000;

/** Numbers of decisions per second, newest last: `{ second, allowed, waited, degraded, refused }`. */
const history = [];

export function count(kind) {
  const second = Math.floor(now() / 1000);
  if (history.at(-1)?.second !== second) history.push({ second, allowed: 0, waited: 0, degraded: 0, refused: 0 });
  history.at(-1)[kind]++;
}

export function kindOf({ allowed, delay, source, dryRun }) {
  if (!allowed && !dryRun) return 'refused';
  if (source === 'fallback' || source === 'open') return 'degraded';
  return delay > 0 ? 'waited' : 'allowed';
}

const plot = at('plot');
for (const kind of KINDS) {
  const path = document.createElementNS(plot.namespaceURI, 'path');
  path.classList.add(kind);
  plot.append(path);
  at('counts').append(make(`<div class="${kind}"><dt>${kind}</dt><dd id="${kind}">0</dd></div>`));
}

export function drawPlot(time) {
  while (history.length && history[0].second * 1000 < time - MINUTE) history.shift();
  const sum = (entry) => KINDS.reduce((total, kind) => total + entry[kind], 0);
  const most = Math.max(5, ...history.map(sum));
  const bases = history.map(() => 100);
  for (const [i, kind] of KINDS.entries()) {
    let path = '';
    for (const [j, entry] of history.entries()) {
      const height = (entry[kind] / most) * 100;
      bases[j] -= height;
      if (height) path += `M${60 - time / 1000 + entry.second} ${bases[j]}h.85v${height}h-.85z`;
    }
    plot.children[i].setAttribute('d', path);
    write(at(kind), `${history.reduce((total, entry) => total + entry[kind], 0)}`);
  }
  write(at('most'), `highest bar: ${Math.max(0, ...history.map(sum))} per second`);
}

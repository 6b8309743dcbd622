import { LOAD_KINDS, LOAD_RANGES, type Load, type LoadNumber, parseNumbers } from './load.js';

/** What the address of the page holds: everything but the requests that were clicked, and a log, which may be private. */
export interface PageState {
  readonly policies: readonly string[];
  readonly load: Load;
}

export const MAX_CANDIDATES = 3;
const MAX_HASH = 20_000;

export const DEFAULT_STATE: PageState = {
  policies: ['{ maxRequest: 5, duration: 10 }', '{ capacity: 5, refill: 5, duration: 10 }'],
  load: { kind: 'bursts', rate: 1, size: 8, pause: 4, clients: 1 },
};

const NUMBERS = Object.keys(LOAD_RANGES) as LoadNumber[];

/** The state as the hash of a URL, without `#`. */
export function toHash({ policies, load }: PageState): string {
  const params = new URLSearchParams(policies.map((text): [string, string] => ['policy', text]));
  params.set('load', load.kind);
  for (const name of NUMBERS) params.set(name, String(load[name]));
  return params.toString();
}

/** The state in a hash with or without `#`; defaults for what it does not have, or what is invalid. */
export function fromHash(hash: string): PageState {
  const text = hash.replace(/^#/, '');
  const params = new URLSearchParams(text.length > MAX_HASH ? '' : text);
  const policies = params.getAll('policy').slice(0, MAX_CANDIDATES);
  const { load } = DEFAULT_STATE;
  const kind = LOAD_KINDS.find((known) => known === params.get('load')) ?? load.kind;
  return {
    policies: policies.length > 0 ? policies : DEFAULT_STATE.policies,
    load: { ...parseNumbers((name) => params.get(name), load), kind },
  };
}

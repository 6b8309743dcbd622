import { Bucket, SlotBucket, WindowBucket } from './bucket.js';
import { BucketView } from './bucket-view.js';
import { at, make } from './dom.js';
import { ROUTES } from './routes.js';

const MAX_TILES = 24;

/** Tiles by policy and bucket. A policy has a tile before its first decision. */
const tiles = new Map();

function addTile(name, policy, limit) {
  const route = ROUTES.find((route) => route.policy === policy);
  const Kind = route?.window ? WindowBucket : route?.slots ? SlotBucket : Bucket;
  const bucket = new Kind(policy, limit);
  const view = new BucketView(make('li', { className: 'bucket' }));
  view.element.dataset.policy = policy;
  view.picture.removeAttribute('aria-hidden');
  view.picture.setAttribute('role', 'meter');
  view.picture.setAttribute('aria-valuemin', 0);
  at('buckets').append(view.element);
  tiles.set(name, { bucket, view });
}

function tileOf({ policy, bucket, limit }) {
  const name = `${policy} ${bucket}`;
  if (tiles.has(name)) return tiles.get(name);
  if (tiles.has(policy)) {
    tiles.set(name, tiles.get(policy));
    tiles.delete(policy);
  } else {
    addTile(name, policy, limit);
    if (tiles.size > MAX_TILES) removeOldestTile();
  }
  const tile = tiles.get(name);
  // Several buckets of one policy are distinguished by a suffix.
  if (siblingsOf(policy).length > 1) tile.bucket.title = `${policy} #${bucket}`;
  return tile;
}

const siblingsOf = (policy) => [...tiles.values()].filter(({ bucket }) => bucket.policy === policy);
const isNeeded = ({ policy }) => siblingsOf(policy).length === 1 && ROUTES.some((route) => route.policy === policy);

/** Removes the tile that was used least recently, but keeps at least one for each policy of the routes. */
function removeOldestTile() {
  const usedAt = ([, { bucket }]) => bucket.usedAt ?? Infinity;
  const removable = [...tiles].filter(([, { bucket }]) => !isNeeded(bucket));
  const [[name, { view }]] = removable.sort((a, b) => usedAt(a) - usedAt(b));
  view.element.remove();
  tiles.delete(name);
}

/** Forgets all levels: decisions may have been missed. */
export function resetBuckets() {
  tiles.clear();
  at('buckets').replaceChildren();
  for (const { policy, limit } of ROUTES) if (policy && !tiles.has(policy)) addTile(policy, policy, limit);
}
resetBuckets();

export function updateBucket(decision) {
  tileOf(decision).bucket.update(decision);
}

export function releaseSlot({ policy, bucket }) {
  tiles.get(`${policy} ${bucket}`)?.bucket.release();
}

const chosenView = new BucketView(at('chosen'));

/** Draws all buckets; those of the chosen route's policy are marked, and the last used one of them is drawn large. */
export function drawBuckets(time, chosenPolicy) {
  let chosen;
  for (const { bucket, view } of tiles.values()) {
    view.draw(bucket, time);
    const marked = bucket.policy === chosenPolicy;
    view.element.toggleAttribute('data-chosen', marked);
    if (marked && !(chosen?.usedAt >= (bucket.usedAt ?? 0))) chosen = bucket;
  }
  at('chosen').hidden = !chosen;
  if (chosen) chosenView.draw(chosen, time);
}

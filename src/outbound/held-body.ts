import type { Readable } from 'node:stream';
import type { Slot } from '../concurrency/slot.js';
import { warnOnce } from '../observe/logger.js';
import { type Clock, sleepIdly, steadyTimeOf } from '../util/clock.js';

/** After how many ms a body that is not read no longer holds its slot. */
const UNREAD_AFTER = 30_000;

/** A slot that is held until the body of a response has ended. */
export interface BodyHold {
  readonly slot: Slot;
  readonly clock: Clock;
  /** The name of the policy, for the log. */
  readonly policy: string;
}

/**
 * Holds a slot until a body has ended, was canceled or has failed, or until it has not been read for half a minute. Returns
 * the body to use in its place: a stream of the web can be observed only by another one. Releases the slot at once for
 * anything that is no stream.
 */
export function holdBody(body: unknown, hold: BodyHold): unknown {
  if (isWebStream(body) && !body.locked) return observedStream(body, hold);
  if (isNodeStream(body) && !body.destroyed && !body.readableEnded) observeReadable(body, hold);
  else void hold.slot.release();
  return body;
}

function isWebStream(body: unknown): body is ReadableStream<Uint8Array> {
  return typeof (body as ReadableStream | null | undefined)?.getReader === 'function';
}

function isNodeStream(body: unknown): body is Readable {
  return typeof (body as Readable | null | undefined)?.pipe === 'function';
}

/** A stream with the bytes of `body`, which is read only when the stream is. */
function observedStream(body: ReadableStream<Uint8Array>, hold: BodyHold): ReadableStream<Uint8Array> {
  const now = () => steadyTimeOf(hold.clock);
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined = body.getReader();
  let isReading = false;
  let lastRead = now();
  const ended = releaseOnce(hold);
  reader.closed.then(ended, ended);
  const unreadFor = () => (isReading ? 0 : now() - lastRead);
  whenUnread(hold, ended.signal, unreadFor, () => {
    // Unlocked, a body that is never read ends with its response, when that is collected.
    reader?.releaseLock();
    reader = undefined;
  });
  return new ReadableStream({
    type: 'bytes',
    async pull(controller) {
      reader ??= body.getReader();
      isReading = true;
      const { done, value } = await reader.read();
      isReading = false;
      lastRead = now();
      // A copy: some buffers, such as small ones of Node, cannot be transferred.
      if (!done) return controller.enqueue(new Uint8Array(value));
      controller.close();
      controller.byobRequest?.respond(0);
    },
    cancel: (reason) => (reader ?? body).cancel(reason),
  });
}

/** Once it is read, a stream of Node holds the slot until it has ended: pauses of its readers are not known. */
function observeReadable(body: Readable, hold: BodyHold): void {
  const ended = releaseOnce(hold);
  for (const event of ['end', 'close']) body.once(event, ended);
  whenUnread(hold, ended.signal, () => (body.readableFlowing === null ? UNREAD_AFTER : 0), ended);
}

/** A function that releases the slot, and aborts its `signal`. */
function releaseOnce({ slot }: BodyHold): (() => void) & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const release = () => {
    controller.abort('ended');
    void slot.release();
  };
  return Object.assign(release, { signal: controller.signal });
}

/** Calls `unread`, and logs it once, once nothing has been read for `UNREAD_AFTER`. */
async function whenUnread(
  { clock, policy }: BodyHold,
  ended: AbortSignal,
  unreadFor: () => number,
  unread: () => void,
): Promise<void> {
  try {
    for (let left = UNREAD_AFTER; left > 0; left = UNREAD_AFTER - unreadFor()) await sleepIdly(clock, left, ended);
  } catch {
    return;
  }
  unread();
  const message = `Policy ${policy} released the slot of a call whose response has not been read for ${UNREAD_AFTER} ms`;
  warnOnce.about(`unread ${policy}`, `${message}: read each body to its end, or cancel it`);
}

/** Node's own: fake timers, once removed, never make the calls that are due, and later ones would wait behind these. */
const atNextCheck = globalThis.setImmediate;

const due: (() => void)[] = [];

/**
 * Calls `run` when all I/O of this turn of the event loop has been handled, before the timers of the next one. What such a
 * call adds runs in the same turn, behind the others: an immediate would wait for the next turn.
 */
export function atTurnEnd(run: () => void): void {
  if (due.push(run) === 1) atNextCheck(runDue);
}

function runDue(): void {
  let done = 0;
  try {
    for (; done < due.length; done++) due[done]();
  } finally {
    // One that throws does not keep the others from running.
    due.splice(0, done + 1);
    if (due.length > 0) atNextCheck(runDue);
  }
}

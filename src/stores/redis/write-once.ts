import type { Socket } from './sent-command.js';

/**
 * Calls `send`, whose commands are then written to each of the sockets at once: each write is a system call, which costs
 * this process more than the rest of a decision.
 */
export function writeOnce(sockets: readonly (Socket | undefined)[], send: () => void): void {
  // A socket writes when it has been uncorked as often as it was corked.
  for (const socket of sockets) socket?.cork?.();
  try {
    send();
  } finally {
    for (const socket of sockets) socket?.uncork?.();
  }
}

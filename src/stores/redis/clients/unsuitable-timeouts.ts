import type { ClientTimeouts } from './client-port.js';

/** For each timeout of a client that does not suit the deadline of commands what is wrong, and the fix. */
export function unsuitableTimeouts({ commandTimeout, socketTimeout }: ClientTimeouts, timeout: number): string[] {
  const found: string[] = [];
  if (commandTimeout < timeout) {
    found.push(
      `\`commandTimeout\` (${commandTimeout} ms) is below the deadline of ${timeout} ms, and loses replies that would ` +
        'still be in time; remove it',
    );
  }
  if (socketTimeout < timeout) {
    found.push(`\`socketTimeout\` (${socketTimeout} ms) is below the deadline of ${timeout} ms; raise it`);
  } else if (socketTimeout === Infinity) {
    found.push('without `socketTimeout`, a connection that fell silent may be used for minutes; set it to 2000');
  }
  return found;
}

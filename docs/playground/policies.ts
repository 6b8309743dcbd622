import { toPolicyInputs } from '../../src/policy/rate-limit.options.js';
import { parseLiteral } from './literal.js';
import { compile, Simulation } from './simulate.js';

/** The policies that the typed code defines, or why it defines none. */
export type Policies =
  | { readonly plan: ReturnType<typeof compile>; readonly ignored: readonly string[] }
  | { readonly error: string };

/** Options that do not change which requests are admitted by one process whose handlers succeed. */
const IGNORED = ['dryRun', 'lease', 'message', 'onLimited', 'onStoreError', 'perHandler', 'settle'];

/** Parses the text of a policy. */
export function parsePolicies(text: string): Policies {
  try {
    const input = parseLiteral(text);
    compile(input);
    const ignored = IGNORED.filter((name) => toPolicyInputs(input).some((one) => Object.hasOwn(Object(one), name)));
    // The playground shows what a dry run would have rejected.
    const plan = compile(Array.isArray(input) ? input.map(withoutDryRun) : withoutDryRun(input));
    new Simulation(plan).send({ at: 0, client: 'client' });
    return { plan, ignored };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

function withoutDryRun(options: unknown): unknown {
  if (typeof options !== 'object' || options === null) return options;
  const { dryRun, ...rest } = options as Record<string, unknown>;
  return rest;
}

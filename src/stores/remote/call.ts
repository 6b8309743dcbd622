import type { StoreAnswer } from '../../core/decision.js';
import type { StoreRequest } from '../../core/request.js';
import type { StoreCall } from '../redis/sent-command.js';
import type { Timed } from './deadlines.js';

/** A call of the store in flight. */
export interface Call extends Timed, StoreCall {
  sent: StoreCall['sent'];
  ended: boolean;
  readonly request: StoreRequest;
  readonly resolve: (answer: StoreAnswer) => void;
  readonly reject: (error: unknown) => void;
  /** Publishes the outcome of the call; `undefined` without subscribers. */
  readonly publish: ((error?: unknown) => void) | undefined;
  /** The store's own answer to an effect, which may come after the deadline. */
  answer: Promise<StoreAnswer> | undefined;
}

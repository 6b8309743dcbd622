import type { StoreRequest } from '../../core/request.js';
import type { StoreCall } from './sent-command.js';

/** The script's reply to one request; `core/answer.ts` describes its numbers. */
export type ReplyRow = readonly number[];

/** A request without a reply yet. */
export interface PendingRequest {
  readonly request: StoreRequest;
  readonly call: StoreCall | undefined;
  /** The instant whose periods of the calendar the script needs, if not those of now. */
  readonly calendarAt?: number;
  readonly resolve: (row: ReplyRow) => void;
  readonly reject: (error: unknown) => void;
}

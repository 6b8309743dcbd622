import type { StoreRequest } from '../../core/request.js';

/** The script's reply to one request; `core/answer.ts` describes its numbers. */
export type ReplyRow = readonly number[];

/** A request without a reply yet. */
export interface PendingRequest {
  readonly request: StoreRequest;
  /** The start of its timeout, on the steady clock. */
  readonly since: number;
  readonly resolve: (row: ReplyRow) => void;
  readonly reject: (error: unknown) => void;
}

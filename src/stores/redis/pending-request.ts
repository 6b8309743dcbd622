import type { StoreRequest } from '../../core/request.js';
import type { StoreCall } from './sent-command.js';

/** The script's reply to one request; `core/answer.ts` describes its numbers. */
export type ReplyRow = readonly number[];

/** A request without a reply yet. */
export interface PendingRequest {
  readonly request: StoreRequest;
  readonly call: StoreCall | undefined;
  readonly resolve: (row: ReplyRow) => void;
  readonly reject: (error: unknown) => void;
}

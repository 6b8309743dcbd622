import { RateLimitUnavailableException } from '../exceptions/rate-limit.exception.js';
import { brand } from '../util/brand.js';

/** The message that the client of this application receives. It does not name the upstream. */
const MESSAGE = 'The limit of calls to another service is reached';

/**
 * A call to an upstream would wait longer than `maxWait`: it was not sent. Status 503 for the client of this application,
 * which has exceeded no limit, with `Retry-After` where the transport has it.
 */
export class OutboundLimitExceededException extends RateLimitUnavailableException {
  static {
    brand(this, 'OutboundLimitExceededException');
  }

  /** The name of the policy that limits the calls. */
  readonly policy: string;
  /** Milliseconds after which a call could be sent if no other came; `Infinity` for never. */
  override readonly retryAfter: number;

  constructor(policy: string, retryAfter: number) {
    super(undefined, MESSAGE);
    this.policy = policy;
    this.retryAfter = retryAfter;
  }
}

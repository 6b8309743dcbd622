/** A request that a caller waits for, until its deadline. */
export interface StoreCall {
  /** The command that carries the request; set when it is handed to the client. */
  sent: SentCommand | undefined;
  /** The caller no longer waits. */
  readonly ended: boolean;
}

/** A connection's socket, as far as it is used here. */
export interface Socket {
  readonly bytesRead: number;
  /** Keeps what is written until `uncork`, which writes it at once. */
  cork?(): void;
  uncork?(): void;
}

/** A command that was handed to the client, with up to 32 requests. */
export class SentCommand {
  /** Whether it has been counted as a failure: one command is one failure, however many requests it carries. */
  isCounted = false;
  private readonly bytesRead: number | undefined;

  /** `at` is when its deadline started, on the steady clock; `node` is the node of a Cluster that it is for. */
  constructor(
    public at: number,
    readonly node: string | undefined,
    private readonly socket: Socket | undefined,
  ) {
    this.bytesRead = socket?.bytesRead;
  }

  /** Whether no byte has arrived on its connection since. */
  get isSilent(): boolean {
    return this.socket?.bytesRead === this.bytesRead;
  }
}

/** A client, as far as the store uses it. Properties that are not public may be missing. */
export interface GlideConnection {
  readonly isClosed?: boolean;
  readonly config?: { readonly requestTimeout?: number };
  customCommand(args: readonly (string | Buffer)[], options?: object): Promise<unknown>;
  time(): Promise<unknown>;
  /** Since version 2.3. */
  subscribe?(channels: Iterable<string>, timeout: number): Promise<unknown>;
  unsubscribeLazy?(channels: Iterable<string>): Promise<unknown>;
  getPubSubMessage(): Promise<{ readonly channel: string | Buffer; readonly message: string | Buffer }>;
  close(): void;
}

import { Injectable } from '@nestjs/common';

/** Simulates the mail server of another organization. */
@Injectable()
export class MailServer {
  readonly host = 'smtp.example.com';
  private readonly seen = new Set<string>();

  /** Returns whether the server accepted the mail. It rejects the first mail to `busy@…`, to be retried later. */
  async send(to: string): Promise<boolean> {
    if (!to.startsWith('busy@') || this.seen.has(to)) return true;
    this.seen.add(to);
    return false;
  }
}

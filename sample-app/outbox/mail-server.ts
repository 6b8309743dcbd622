import { Injectable } from '@nestjs/common';

/** Stands for a mail server that somebody else runs. */
@Injectable()
export class MailServer {
  readonly host = 'smtp.example.com';
  private readonly seen = new Set<string>();

  /** Whether it has taken the mail. At the first one to `busy@…` it says: not now, come again in a few seconds. */
  async send(to: string): Promise<boolean> {
    if (!to.startsWith('busy@') || this.seen.has(to)) return true;
    this.seen.add(to);
    return false;
  }
}

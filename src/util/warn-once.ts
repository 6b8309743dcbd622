/** The most names remembered; names may be made up without end. Further ones get no warning. */
const MOST_NAMES = 100;

/** Passes on one warning per subject: an object, or a name. */
export class WarnOnce {
  private objects = new WeakSet<object>();
  private readonly names = new Set<string>();

  constructor(private readonly warn: (message: string) => void) {}

  /** Warns, unless there was a warning about this subject before. */
  about(subject: object | string, message: string): void {
    if (typeof subject === 'string') {
      if (this.names.has(subject) || this.names.size >= MOST_NAMES) return;
      this.names.add(subject);
    } else {
      if (this.objects.has(subject)) return;
      this.objects.add(subject);
    }
    this.warn(message);
  }

  /** Forgets all subjects, so that the next application in this process is warned again. */
  reset(): void {
    this.objects = new WeakSet();
    this.names.clear();
  }
}

/** A frame that took longer, such as one in a hidden tab, does not make up for it. */
const LONGEST_FRAME = 100;

/** Calls `advance` for each frame of the browser, with the milliseconds since the one before. */
export class Frames {
  private frame = 0;
  private before: number | undefined;

  constructor(private readonly advance: (ms: number) => void) {}

  start(): void {
    this.before = undefined;
    this.frame = requestAnimationFrame(this.tick);
  }

  stop(): void {
    cancelAnimationFrame(this.frame);
  }

  private readonly tick = (time: number): void => {
    // Before `advance`, which may stop.
    this.frame = requestAnimationFrame(this.tick);
    const passed = Math.min(LONGEST_FRAME, time - (this.before ?? time));
    this.before = time;
    this.advance(passed);
  };
}

/**
 * When the page's address is written: each step that a person would want to take back gets an entry in the history.
 *
 * Browsers bound how often an address may change (WebKit throws at the 101st time in 30 s) and take their time for each entry:
 * Chromium fetches and draws the page's icon again, 3 ms of the page's own thread and more of others'. So a few steps may follow each
 * other at once; of more than a person makes (a key held down) several become one entry. Typing changes the present entry once it rests.
 */

/** 100 in 30 s. */
const STEP_MS = 300;
/** As many at once. */
const BURST = 5;
const TYPING_MS = 200;

export class Address {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private waiting: { address: string; step: boolean } | null = null;
  /** Steps that may be written now, as of `counted`. */
  private left = BURST;
  private counted = 0;

  /** `write` puts an address into a new entry of the history, or else into the present one. */
  constructor(private readonly write: (address: string, step: boolean) => void) {}

  /** The view has changed, by a step or not. */
  change(address: string, step: boolean): void {
    if (step && this.count() >= 1) {
      // So that what was typed before is in the entry that is left.
      this.settle();
      this.waiting = { address, step };
      this.settle();
    } else if (step) {
      if (this.waiting?.step !== true) this.settleIn((1 - this.left) * STEP_MS);
      this.waiting = { address, step };
    } else {
      if (this.waiting?.step !== true) this.settleIn(TYPING_MS);
      this.waiting = { address, step: this.waiting?.step === true };
    }
  }

  /** Somebody went back or forward: what was waiting is not where they are. */
  forget(): void {
    clearTimeout(this.timer);
    this.waiting = null;
  }

  private count(): number {
    const now = performance.now();
    this.left = Math.min(BURST, this.left + (now - this.counted) / STEP_MS);
    this.counted = now;
    return this.left;
  }

  private settleIn(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.settle(), ms);
  }

  private settle(): void {
    clearTimeout(this.timer);
    if (this.waiting === null) return;
    const { address, step } = this.waiting;
    this.waiting = null;
    if (step) this.left = this.count() - 1;
    this.write(address, step);
  }
}

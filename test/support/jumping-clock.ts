import { FakeClock } from "./fake-clock.ts";

/** A machine whose clock is set while timers run on: what they wait for is not moved by it. */
export class JumpingClock extends FakeClock {
  #set = 0;

  override now(): number {
    return super.now() + this.#set;
  }

  /** Set it forward, or back. */
  jump(ms: number): void {
    this.#set += ms;
  }
}

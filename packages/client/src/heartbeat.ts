/** Asks a quiet peer whether it is there, and gives it up when it says nothing. Counted, not timed: a process that slept has missed nothing. */
export interface Beats {
  /** Of all that came; where it grows the peer is heard, though no message is whole yet. Absent: that cannot be told. */
  received?(): number;
  ask(): void;
  gone(): void;
}

export class Heartbeat {
  readonly #beats: Beats;
  #probe: ReturnType<typeof setInterval> | undefined;
  /** Since the peer was last heard. */
  #unanswered = 0;
  #received = 0;

  constructor(beats: Beats) {
    this.#beats = beats;
  }

  heard(): void {
    this.#unanswered = 0;
  }

  /** A peer quiet for `everyMs` is asked, and is gone after `waitMs` more. */
  begin(everyMs: number, waitMs: number): void {
    this.stop();
    this.heard();
    const probeMs = Math.max(1, Math.min(everyMs, waitMs) / 2);
    this.#probe = setInterval(() => {
      const received = this.#beats.received?.() ?? 0;
      if (received !== this.#received) this.heard();
      this.#received = received;
      if (++this.#unanswered * probeMs > everyMs + waitMs) this.#beats.gone();
      else this.#beats.ask();
    }, probeMs);
    // A page's timer is a number, and keeps no process.
    if (typeof this.#probe === "object") this.#probe.unref();
  }

  stop(): void {
    clearInterval(this.#probe);
  }
}

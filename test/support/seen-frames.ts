import type { Frame, SessionEvent, SessionState, ViewerSeat } from "@sessiond/client";

/** What one seat's reader was given, checked as it comes: each frame follows the one before, across every loss of the link. */
export class SeenFrames {
  /** By seq, each as `keep` gives it. */
  readonly texts = new Map<number, string>();
  readonly seat: ViewerSeat;
  /** The last frame that had come when the link was lost the last time. */
  lostAt = 0;
  readonly #done: Promise<void>;
  readonly #keep: (text: string) => string;
  #last = 0;
  #wrong: Error | null = null;
  #waiting: { matches: (frame: Frame) => boolean; resolve: (frame: Frame) => void }[] = [];

  constructor(seat: ViewerSeat, keep = (text: string) => text) {
    this.seat = seat;
    this.#keep = keep;
    this.#done = this.#read().catch((error: unknown) => {
      this.#wrong ??= error as Error;
    });
  }

  /** The next frame, from now on, of which this holds. */
  next(matches: (event: SessionEvent, frame: Frame) => boolean): Promise<Frame> {
    return new Promise((resolve) => this.#waiting.push({ matches: (frame) => matches(frame.event, frame), resolve }));
  }

  /** Resolves when this holds of the seat's state; a seat that is live again may not yet have every frame of the new start. */
  async until(holds: (state: SessionState) => boolean): Promise<void> {
    while (!holds(this.seat.state)) await this.seat.changed();
  }

  /** Call before the link is lost; resolves when the seat has noticed the loss and is live again. */
  async back(): Promise<void> {
    while (this.seat.connection === "live") await this.seat.changed();
    this.lostAt = this.seat.state.seq;
    while (this.seat.connection === "reconnecting") await this.seat.changed();
    if (this.seat.connection === "ended") throw new Error(`the seat ended: ${String(await this.seat.ended)}`);
  }

  /** @throws when a frame was missing, doubled or replaced by a snapshot */
  check(): void {
    if (this.#wrong !== null) throw this.#wrong;
  }

  /** Resolves when the reader has ended. */
  get done(): Promise<void> {
    return this.#done;
  }

  async #read(): Promise<void> {
    let first = true;
    for await (const event of this.seat.events) {
      if (event.type === "snapshot") {
        if (!first) throw new Error(`a snapshot at ${event.state.seq} (${event.reset ?? "no reset"}) took the place of frames after ${this.#last}`);
        first = false;
        this.#last = event.state.seq;
        continue;
      }
      const { frame } = event;
      if (frame.seq !== this.#last + 1) throw new Error(`frame ${frame.seq} came after ${this.#last}`);
      this.#last = frame.seq;
      this.texts.set(frame.seq, this.#keep(JSON.stringify(frame)));
      const [now, later] = [this.#waiting.filter(({ matches }) => matches(frame)), this.#waiting.filter(({ matches }) => !matches(frame))];
      this.#waiting = later;
      for (const { resolve } of now) resolve(frame);
    }
  }
}

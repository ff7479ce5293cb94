import type { SeatEvent } from "@sessiond/client";
import { jsonLine, type Sink } from "./screen.ts";

/** Who shows a session's events, one by one: a transcript for people, JSON lines for programs. */
export interface Shower {
  event(event: SeatEvent): void;
  /** Nothing more comes for now: end what was left open. */
  pause(): void;
}

/** One line a thing: `{"type": …}` and what belongs to it, in the wire's own names. */
export class JsonLines implements Shower {
  readonly #sink: Sink;

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  event(event: SeatEvent): void {
    this.line(event);
  }

  line(value: object): void {
    this.#sink.write(jsonLine(value));
  }

  pause(): void {
    // Each line is whole.
  }
}

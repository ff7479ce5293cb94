import { limits, type Frame, type SessionState } from "@sessiond/shared";
import { EventQueue } from "./event-queue.ts";
import { OneReader } from "./one-reader.ts";
import type { SeatStream } from "./seat-stream.ts";
import type { Transcript } from "./transcript.ts";

/**
 * What a reader of `seat.events` gets: first the state, then every frame after it. A further
 * `snapshot` replaces what was shown; with `reset` the frames between the two were not seen,
 * and it says why: they could not be served, or are no longer kept one by one.
 */
export type SeatEvent =
  | { readonly type: "snapshot"; readonly state: SessionState; readonly reset?: ResetCause }
  | { readonly type: "frame"; readonly frame: Frame };

export type ResetCause = "beyond_end" | "unknown_epoch" | "too_old";

/** The events of a seat. Their queue is bounded, and neither it nor its reader ever holds up the seat. */
export class SeatEvents extends OneReader<SeatEvent> {
  constructor(stream: SeatStream, transcript: Transcript, max: number = limits.client_events_max) {
    super(() => {
      const queue = new EventQueue({ stream, transcript, max });
      const leave = stream.watch(queue);
      queue.snapshot(stream.state, undefined);
      if (stream.end !== undefined) queue.ended(stream.end);
      return {
        ready: () => queue.ready(),
        take: () => queue.take(),
        close: () => {
          leave();
          queue.close();
        },
      };
    });
  }
}

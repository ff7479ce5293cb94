import { SessiondError, type Frame, type SessionState, type StopReason } from "@sessiond/shared";
import type { SeatStream } from "./seat-stream.ts";
import type { Transcript } from "./transcript.ts";

/** How the turn that ran a prompt ended. */
export interface Turn {
  readonly promptId: string;
  readonly turnId: string;
  readonly stopReason: StopReason;
  /** With `failed`: what went wrong, as the transcript says it. */
  readonly error?: { readonly code: string; readonly message: string };
  /** The agent's last message of the turn; its end, where it is longer than `message_chars_max`. */
  readonly text?: string;
}

interface Waiting {
  readonly promptId: string;
  /** What became of it lies after this seq. */
  since: number;
  turnId: string | null;
  /** A frame named this prompt: the daemon has it, whatever became of the call that sent it. */
  known: boolean;
  /** Aborted when nobody waits any more. */
  readonly over: AbortController;
  readonly resolve: (turn: Turn) => void;
  readonly reject: (error: SessiondError) => void;
}

/** Who waits for which prompt's turn. Fed by the seat's frames; by pages where those were missed. */
export class TurnWaits {
  readonly #stream: SeatStream;
  readonly #transcript: Transcript;
  readonly #waiting = new Set<Waiting>();

  constructor(stream: SeatStream, transcript: Transcript) {
    this.#stream = stream;
    this.#transcript = transcript;
    stream.watch({
      frame: (frame) => this.#see(frame),
      snapshot: (state) => {
        for (const waiting of this.#waiting) {
          waiting.since = Math.min(waiting.since, state.seq);
          void this.#lookUp(waiting);
        }
      },
      ended: (error) => {
        for (const waiting of this.#waiting) waiting.reject(error ?? new SessiondError("cancelled", { reason: "the seat was left" }));
      },
    });
  }

  /** Begin before the prompt is sent: its frames may come before the answer. */
  begin(promptId: string): { turn: Promise<Turn>; known(): boolean; accepted(seq: number): void; fail(error: SessiondError): void; forget(): void } {
    let resolve: (turn: Turn) => void = () => undefined;
    let reject: (error: SessiondError) => void = () => undefined;
    const turn = new Promise<Turn>((yes, no) => {
      resolve = yes;
      reject = no;
    });
    // Its owner may have gone with an error of its own.
    turn.catch(() => undefined);
    const waiting: Waiting = { promptId, since: this.#stream.state.seq, turnId: null, known: false, over: new AbortController(), resolve, reject };
    this.#waiting.add(waiting);
    return {
      turn,
      known: () => waiting.known,
      accepted: (seq) => {
        // A repeat of an older prompt: what became of it lies before what this seat saw.
        if (waiting.known || seq > this.#stream.state.seq) return;
        waiting.since = Math.min(waiting.since, seq - 1);
        void this.#lookUp(waiting);
      },
      fail: reject,
      forget: () => {
        this.#waiting.delete(waiting);
        waiting.over.abort(new SessiondError("cancelled"));
      },
    };
  }

  #see(frame: Frame): void {
    for (const waiting of this.#waiting) this.#match(waiting, frame);
  }

  #match(waiting: Waiting, { event }: Frame): void {
    if ("prompt_id" in event && event.prompt_id === waiting.promptId) waiting.known = true;
    switch (event.type) {
      case "prompt_delivered":
        if (event.prompt_id === waiting.promptId) waiting.turnId = event.turn_id;
        return;
      case "prompt_withdrawn":
      case "prompt_discarded":
        if (event.prompt_id === waiting.promptId)
          this.#gone(waiting, event.type === "prompt_withdrawn" ? { outcome: "withdrawn" } : { outcome: "discarded", cause: event.cause });
        return;
      case "turn_ended":
        if (event.turn_id === waiting.turnId) this.#ended(waiting, event);
        return;
      case "session_stopped":
        // Its turn and prompts have ended before this, each with a frame of its own.
        if (waiting.known) this.#gone(waiting, { outcome: "the session was stopped" });
        return;
      default:
    }
  }

  #ended(waiting: Waiting, { turn_id, stop_reason, error }: { turn_id: string; stop_reason: StopReason; error?: Turn["error"] | undefined }): void {
    this.#waiting.delete(waiting);
    const text = lastText(this.#stream.state, turn_id);
    waiting.resolve({ promptId: waiting.promptId, turnId: turn_id, stopReason: stop_reason, ...(error && { error }), ...(text !== undefined && { text }) });
  }

  #gone(waiting: Waiting, detail: { outcome: string; cause?: string }): void {
    this.#waiting.delete(waiting);
    waiting.reject(new SessiondError("prompt_gone", { prompt_id: waiting.promptId, ...detail }));
  }

  /** Reads the transcript until the prompt is settled or this seat's own frames will tell. */
  async #lookUp(waiting: Waiting): Promise<void> {
    const { queue, turn } = this.#stream.state;
    waiting.turnId ??= turn?.prompt_ids.includes(waiting.promptId) ? turn.turn_id : null;
    if (queue.some((prompt) => prompt.prompt_id === waiting.promptId) || (turn !== null && turn.turn_id === waiting.turnId)) return void (waiting.known = true);
    let after = waiting.since;
    try {
      while (this.#waiting.has(waiting)) {
        const page = await this.#transcript.after(after, waiting.over.signal);
        // What a page has beyond the seat's state comes as a frame, and the turn's text with it.
        for (const frame of page.frames) if (frame.seq <= this.#stream.state.seq && this.#waiting.has(waiting)) this.#match(waiting, frame);
        after = page.frames.at(-1)?.seq ?? after;
        // Once the pages reach what the seat has folded, everything further comes as frames.
        if (after >= this.#stream.state.seq || page.frames.length === 0) return;
      }
    } catch (error) {
      if (error instanceof SessiondError && this.#waiting.delete(waiting)) waiting.reject(error);
    }
  }
}

function lastText(state: SessionState, turnId: string): string | undefined {
  return state.messages.findLast((message) => message.type === "agent" && message.turn_id === turnId)?.text;
}

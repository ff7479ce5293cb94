import type { Limits } from "@sessiond/shared";
import { AnswerTooLarge } from "./bounded-answer.ts";

/**
 * Cuts a model's answer, as the network brings it, into whole events, counted as they are unpacked: those that came
 * together at once, each of bounded length, and the answer has an end. Two line ends in a row, of the kinds that servers
 * send, end an event.
 *
 * Cost: each byte is looked at once, however an event is cut up.
 */
export class WholeEvents {
  readonly #limits: Limits;
  // One that grows: pieces of a byte each would cost a hundred times what is in them.
  #held = new Uint8Array(4_096);
  #pending = 0;
  #total = 0;
  /** The newest four bytes of this event. */
  #newest = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** @returns the events that are whole with this piece, if any are. @throws AnswerTooLarge */
  take(piece: Uint8Array): Uint8Array | null {
    const { model_answer_bytes_max: answerMax } = this.#limits;
    this.#total += piece.length;
    if (this.#total > answerMax) throw new AnswerTooLarge(`more than ${answerMax} bytes in one answer`);
    /** Where the last whole event ends. */
    let whole = 0;
    for (let at = 0; at < piece.length; at += 1) {
      this.#newest = (this.#newest << 8) | (piece[at] ?? 0);
      const two = this.#newest & 0xffff;
      if (two !== 0x0a0a && two !== 0x0d0d && this.#newest !== 0x0d0a0d0a) continue;
      this.#mustFit((whole === 0 ? this.#pending : 0) + at + 1 - whole);
      whole = at + 1;
      this.#newest = 0;
    }
    const events = whole === 0 ? null : this.#with(piece.subarray(0, whole));
    this.#hold(piece.subarray(whole));
    return events;
  }

  /** What is held, and what ends it. Most pieces end with an event, and then nothing is. */
  #with(piece: Uint8Array): Uint8Array {
    if (this.#pending === 0) return piece;
    const events = Buffer.concat([this.#held.subarray(0, this.#pending), piece]);
    this.#pending = 0;
    return events;
  }

  /** Nothing comes any more. @returns what came behind the last whole event, once */
  end(): Uint8Array {
    const rest = this.#held.subarray(0, this.#pending);
    this.#pending = 0;
    return rest;
  }

  #hold(part: Uint8Array): void {
    const length = this.#pending + part.length;
    this.#mustFit(length);
    if (length > this.#held.length) {
      const larger = new Uint8Array(Math.max(length, 2 * this.#held.length));
      larger.set(this.#held.subarray(0, this.#pending));
      this.#held = larger;
    }
    this.#held.set(part, this.#pending);
    this.#pending = length;
  }

  #mustFit(length: number): void {
    const { model_event_bytes_max: eventMax } = this.#limits;
    if (length > eventMax) throw new AnswerTooLarge(`more than ${eventMax} bytes without the end of an event`);
  }
}

import type { Limits } from "@sessiond/shared";

/**
 * What a model's server may send, counted as it is unpacked. Who decodes it (answer-events.ts) gets whole events, those
 * that came together at once, each of bounded length, and the answer has an end. Of what a server says instead of an
 * answer the client gets the beginning.
 *
 * No redirect is followed: the conversation would go to whomever the server names.
 */
export class AnswerTooLarge extends Error {
  readonly words: string;

  constructor(words: string) {
    super(words);
    this.words = words;
  }
}

/** @returns a fetch whose answers end in `AnswerTooLarge`, and their connection with them, when they go beyond a limit */
export function boundedFetch(limits: Limits, fetchIt: typeof fetch = fetch): typeof fetch {
  return async (input, init) => {
    const response = await fetchIt(input, { ...init, redirect: "manual" });
    const { body, status, statusText, headers } = response;
    if (body === null) return response;
    const watched = body.pipeThrough(response.ok ? wholeEvents(limits) : beginning(limits.model_error_bytes_max));
    return new Response(watched, { status, statusText, headers });
  };
}

/** Two line ends in a row, of the kinds that the client looks for, end an event. Cost: each byte is looked at once here. */
function wholeEvents({ model_event_bytes_max: eventMax, model_answer_bytes_max: answerMax }: Limits): TransformStream<Uint8Array, Uint8Array> {
  // One that grows: pieces of a byte each would cost a hundred times what is in them.
  let held = new Uint8Array(4_096);
  let pending = 0;
  let total = 0;
  /** The newest four bytes of this event. */
  let newest = 0;
  const mustFit = (length: number): void => {
    if (length > eventMax) throw new AnswerTooLarge(`more than ${eventMax} bytes without the end of an event`);
  };
  const hold = (part: Uint8Array): void => {
    const length = pending + part.length;
    mustFit(length);
    if (length > held.length) {
      const larger = new Uint8Array(Math.max(length, 2 * held.length));
      larger.set(held.subarray(0, pending));
      held = larger;
    }
    held.set(part, pending);
    pending = length;
  };
  return new TransformStream({
    transform(chunk, controller) {
      total += chunk.length;
      if (total > answerMax) throw new AnswerTooLarge(`more than ${answerMax} bytes in one answer`);
      /** Where the last whole event ends. */
      let whole = 0;
      for (let at = 0; at < chunk.length; at += 1) {
        newest = (newest << 8) | (chunk[at] ?? 0);
        const two = newest & 0xffff;
        if (two !== 0x0a0a && two !== 0x0d0d && newest !== 0x0d0a0d0a) continue;
        mustFit((whole === 0 ? pending : 0) + at + 1 - whole);
        whole = at + 1;
        newest = 0;
      }
      // Together, as each piece is a step of every stream that it goes through.
      if (whole > 0) {
        controller.enqueue(Buffer.concat([held.subarray(0, pending), chunk.subarray(0, whole)]));
        pending = 0;
      }
      hold(chunk.subarray(whole));
    },
    flush(controller) {
      if (pending > 0) controller.enqueue(held.subarray(0, pending));
    },
  });
}

function beginning(bytesMax: number): TransformStream<Uint8Array, Uint8Array> {
  let left = bytesMax;
  return new TransformStream({
    transform(chunk, controller) {
      controller.enqueue(chunk.subarray(0, left));
      left -= chunk.length;
      if (left <= 0) controller.terminate();
    },
  });
}

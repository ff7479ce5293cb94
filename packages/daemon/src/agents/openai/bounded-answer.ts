import type { Limits } from "@sessiond/shared";

/**
 * What a model's server may send. An answer is bounded where it is decoded (whole-events.ts); of what a server says
 * instead of one the client gets the beginning.
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

export function boundedFetch(limits: Limits, fetchIt: typeof fetch = fetch): typeof fetch {
  return async (input, init) => {
    const response = await fetchIt(input, { ...init, redirect: "manual" });
    const { ok, body, status, statusText, headers } = response;
    if (ok || body === null) return response;
    return new Response(body.pipeThrough(beginning(limits.model_error_bytes_max)), { status, statusText, headers });
  };
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

import type { ContentPart, SessiondError } from "@sessiond/shared";
import type { CallOptions } from "./call-limit.ts";
import type { SeatParts } from "./seat.ts";

/**
 * Gives a queued prompt another content. The first try may have come just before the prompt
 * ran, and its link broken: then the repeat is refused, and this seat's own frame tells that
 * it was done.
 */
export async function editPrompt(
  { stream, calls, auth, sessionId }: SeatParts,
  { promptId, parts }: { readonly promptId: string; readonly parts: ContentPart[] },
  options: CallOptions,
): Promise<{ seq: number }> {
  let edited: { seq: number } | undefined;
  const leave = stream.watch({
    frame: ({ seq, event }) => {
      if (event.type !== "prompt_edited" || event.prompt_id !== promptId) return;
      const ours = event.by.seat_id === stream.seat?.seat_id && JSON.stringify(event.parts) === JSON.stringify(parts);
      edited = ours ? { seq } : undefined;
    },
  });
  const alreadyDone = ({ code }: SessiondError): { seq: number } | undefined => (code === "prompt_gone" ? edited : undefined);
  try {
    return await calls.call("edit_prompt", { session_id: sessionId, prompt_id: promptId, parts }, auth, { ...options, alreadyDone });
  } finally {
    leave();
  }
}

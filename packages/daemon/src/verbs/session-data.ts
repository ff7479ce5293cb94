import { limits, SessiondError, type Frame } from "@sessiond/shared";
import type { EncodedFrame } from "../room/journal-file.ts";
import { withLog } from "./of-session.ts";
import type { Handler } from "./verb.ts";

export const sessionData: Handler<"session_data"> = ({ input, daemon }) => {
  const { after, before, limit = limits.page_frames_max } = input;
  if (after !== undefined && before !== undefined) throw new SessiondError("bad_request", { reason: "give either after or before" });
  return withLog(daemon, input.session_id, async ({ room }) => {
    const page = before === undefined ? await room.page(after ?? 0, limit, limits.page_bytes_max) : await room.pageBefore(before, limit, limits.page_bytes_max);
    const last = page.at(-1)?.seq ?? after ?? 0;
    const more = before === undefined ? last < room.head : await room.anyBefore(page[0]?.seq ?? 0);
    daemon.counters.framesDecoded += page.length;
    return {
      frames: page.map(frameOf),
      more,
      cursor: room.cursor(last),
      head: room.head,
      // Last, so that it covers what this page may have been read from.
      compacted_through: room.compactedThrough,
    };
  });
};

/** Validated when it was written; what is not JSON any more was changed on the disk. */
function frameOf({ text }: EncodedFrame): Frame {
  try {
    return JSON.parse(text) as Frame;
  } catch (cause) {
    throw new SessiondError("storage_failed", { reason: "a line of the journal cannot be read" }, { cause });
  }
}

import { limits, SessiondError, type Frame } from "@sessiond/shared";
import type { EncodedFrame } from "../room/journal-file.ts";
import type { Room } from "../room/room.ts";
import { withLog } from "./of-session.ts";
import type { Handler } from "./verb.ts";

export const sessionData: Handler<"session_data"> = ({ input, daemon }) => {
  const { after, before, limit = limits.page_frames_max } = input;
  if (after !== undefined && before !== undefined) throw new SessiondError("bad_request", { reason: "give either after or before" });
  return withLog(daemon, input.session_id, async ({ room }) => {
    const page = before === undefined ? await room.page(after ?? 0, limit, limits.page_bytes_max) : await pageBefore(room, before, limit);
    const first = page[0]?.seq ?? 0;
    const last = page.at(-1)?.seq ?? after ?? 0;
    return {
      // Validated when they were written.
      frames: page.map((frame) => JSON.parse(frame.text) as Frame),
      more: before === undefined ? last < room.head : first > 1,
      cursor: room.cursor(last),
      head: room.head,
    };
  });
};

/** Seqs are dense, so a page backwards is one forwards that ends in the right place. */
async function pageBefore(room: Room, before: number, limit: number): Promise<EncodedFrame[]> {
  const end = Math.min(before - 1, room.head);
  for (let count = Math.min(limit, end); count > 0; count = Math.floor(count / 2)) {
    const page = await room.page(end - count, count, limits.page_bytes_max);
    if (page.at(-1)?.seq === end) return page;
  }
  return [];
}

import { expect, test } from "vitest";
import { emptyState, type Frame } from "@sessiond/shared";
import { SeatEvents } from "../../packages/client/src/seat-events.ts";
import { SeatStream, type SeatWatcher } from "../../packages/client/src/seat-stream.ts";
import { Transcript } from "../../packages/client/src/transcript.ts";

test("B31 a reader that asks for two events at once gets both", async () => {
  let watcher: SeatWatcher = {};
  const stream = {
    state: emptyState("ses_x"),
    end: undefined,
    watch: (given: SeatWatcher) => {
      watcher = given;
      return () => undefined;
    },
  } as unknown as SeatStream;
  const transcript = new Transcript(stream, () => Promise.reject(new Error("nothing was missed")));
  const events = new SeatEvents(stream, transcript)[Symbol.asyncIterator]();
  await events.next();
  const both = Promise.all([events.next(), events.next()]);
  for (const seq of [1, 2]) watcher.frame?.({ seq } as Frame);
  expect((await both).map(({ value }) => (value?.type === "frame" ? value.frame.seq : null))).toEqual([1, 2]);
});

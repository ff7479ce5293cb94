import { expect, test } from "vitest";
import { emptyState, type Frame } from "@sessiond/shared";
import { SeatEvents } from "../../packages/client/src/seat-events.ts";
import { SeatStream, type StreamWatcher } from "../../packages/client/src/seat-stream.ts";

test("B31 a reader that asks for two events at once gets both", async () => {
  let watcher: StreamWatcher = {};
  const stream = {
    state: emptyState("ses_x"),
    end: undefined,
    watch: (given: StreamWatcher) => {
      watcher = given;
      return () => undefined;
    },
    pause: () => undefined,
    resume: () => undefined,
  } as unknown as SeatStream;
  const events = new SeatEvents(stream)[Symbol.asyncIterator]();
  await events.next();
  const both = Promise.all([events.next(), events.next()]);
  for (const seq of [1, 2]) watcher.frame?.({ seq } as Frame);
  expect((await both).map(({ value }) => (value?.type === "frame" ? value.frame.seq : null))).toEqual([1, 2]);
});

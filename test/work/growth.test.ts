import { afterEach, expect, test } from "vitest";
import type { SessionLog } from "../../packages/daemon/src/session/session-log.ts";
import { whole } from "../support/amount.ts";
import { CountedWork, type Work } from "../support/counted-work.ts";
import { fillTo } from "../support/long-log.ts";
import { endRigs, Rig, type TestSeat } from "../support/session-rig.ts";

/** What a session does costs the same after a hundred thousand events as after a thousand. Counted, not timed. */
const sizes = whole ? [1_000, 10_000, 100_000] : [1_000, 10_000];
const appended = 100;

let counting: CountedWork | undefined;
afterEach(async () => {
  counting?.end();
  await endRigs();
});

/** By what was done, in the order of the sizes. */
async function measured(): Promise<{ works: Record<"append" | "attach" | "prompt" | "info", Work[]>; snapshots: number[] }> {
  const rig = await Rig.start({ script: { auto: (turn) => void turn.say("answer").then(() => turn.end()) } });
  const log = rig.daemon.host.inMemory(rig.sessionId)?.log as SessionLog;
  const count = new CountedWork(rig.daemon.counters);
  counting = count;
  const works: Record<"append" | "attach" | "prompt" | "info", Work[]> = { append: [], attach: [], prompt: [], info: [] };
  const snapshots: number[] = [];
  for (const size of sizes) {
    await fillTo(log, size);
    works.append.push(await count.of(() => fillTo(log, size + appended)));
    let seat: TestSeat | undefined;
    const seated = async () => (seat = await rig.driver(`driver-${String(size).padStart(6, "0")}`));
    works.attach.push(await count.of(seated));
    snapshots.push(JSON.stringify(seat?.first).length);
    works.info.push(await count.of(() => rig.info()));
    const turn = async (): Promise<void> => {
      await seat?.prompt("hello");
      await seat?.event("turn_ended");
    };
    works.prompt.push(await count.of(turn));
    await seat?.detach();
    await seat?.until(({ end }) => end !== undefined);
  }
  return { works, snapshots };
}

/** A seq has more digits when there are more of them: that alone grows, in each frame. What is JSON beside frames has cursors and times in it. */
function counts(work: Work, size: number) {
  const { journalWrittenBytes, encodedChars: _encoded, jsonChars: _chars, ...rest } = work;
  return { ...rest, bytes: journalWrittenBytes - work.framesEncoded * String(size).length };
}

test("B33 appending, attaching, looking and prompting cost the same whatever the session's length", async () => {
  const { works, snapshots } = await measured();
  // What each costs at all, to the last one.
  expect(works.append[0]).toMatchObject({
    framesEncoded: appended,
    eventsValidated: appended,
    framesShown: appended,
    journalWrites: 1,
    journalSyncs: 1,
    digests: 0,
  });
  expect(works.attach[0]).toMatchObject({ framesEncoded: 1, eventsValidated: 1, journalWrites: 1, journalSyncs: 0, filesReplaced: 1 });
  expect(works.info[0]).toMatchObject({ framesEncoded: 0, eventsValidated: 0, journalWrites: 0, journalSyncs: 0, digests: 1 });
  expect(works.prompt[0]).toMatchObject({ framesEncoded: 5, eventsValidated: 5, framesShown: 5 });
  for (const [name, [first, ...later]] of Object.entries(works)) {
    expect(first, name).toMatchObject({ journalReadBytes: 0, framesDecoded: 0 });
    for (const [index, work] of later.entries())
      expect(counts(work, sizes[index + 1] ?? 0), `${name} at ${sizes[index + 1]} events`).toEqual(counts(first as Work, sizes[0] ?? 0));
  }
  // The newest messages, and no more of them.
  expect(Math.max(...snapshots)).toBeLessThanOrEqual(2 * Math.min(...snapshots));
});

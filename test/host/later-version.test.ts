import { appendFileSync } from "node:fs";
import { afterEach, expect, test } from "vitest";
import { endRigs, Rig } from "../support/session-rig.ts";

/** A journal that a later version wrote to, read by this one: what it does not know it passes on, and goes on behind it. */
afterEach(endRigs);
const auto = { script: { auto: (turn: { say(text: string): Promise<void>; end(): void }) => void turn.say("done").then(() => turn.end()) } };

test("B12 B38 an event that a later version wrote is kept, counted and passed on as it is: the session opens, its transcript is read, and it goes on", async () => {
  const before = await Rig.start(auto);
  const driver = await before.driver();
  await driver.prompt("kept");
  await driver.event("turn_ended");
  const root = await before.copy();
  const known = (await before.journal()).length;
  const later = { seq: known + 1, at: 17, event: { type: "from_the_future", what: { nobody: "knows" } } };
  appendFileSync(before.journalPath.replace(before.daemon.root, root), `${JSON.stringify(later)}\n`);
  const rig = await Rig.restart(root, before);
  const page = await rig.daemon.call("session_data", { session_id: rig.sessionId }, { token: rig.token });
  expect(page.frames).toContainEqual(later);
  const viewer = await rig.attach("viewer", { cursor: "1:1" });
  await viewer.until(() => viewer.state.seq > known);
  expect(viewer.frames.map(({ seq }) => seq)).toEqual(viewer.frames.map((_, index) => index + 2));
  await (await rig.driver("again", { force: true })).prompt("after");
  const seqs = (await rig.journal()).map(({ seq }) => seq);
  expect(seqs).toEqual(seqs.map((_, index) => index + 1));
  expect((await rig.daemon.call("daemon_status", {}, { host_key: rig.daemon.hostKey })).set_aside).toEqual([]);
  expect(rig.daemon.bugs).toEqual([]);
});

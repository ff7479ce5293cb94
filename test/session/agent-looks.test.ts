import { afterEach, expect, test } from "vitest";
import { limits } from "@sessiond/shared";
import { endRigs, eventsOf, Rig } from "../support/session-rig.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";

/** What happens between a decision and what comes of it: an agent that looks for its program, a disk that has not the answer yet. */
afterEach(endRigs);

/** Looks end when they are told to, each by itself. */
function looks() {
  const open: (() => void)[] = [];
  return { open, look: () => new Promise<void>((resolve) => open.push(resolve)) };
}
const turnsOfLoop = async (count = 5) => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};

test("B19 B22 prompts sent one behind the other are taken on in that order, however the agent looks for what it needs", async () => {
  const { open, look } = looks();
  const rig = await Rig.start({ script: { look } });
  const driver = await rig.driver();
  const sent = [1, 2, 3, 4].map(() => driver.prompt("work"));
  await turnsOfLoop();
  // The last look ends first.
  for (const end of open.splice(0).reverse()) end();
  const seqs = (await Promise.all(sent)).map(({ seq }) => seq);
  expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
});

test("B24 a look that never ends is the only one of its agent, and holds nobody up for longer than the limit", async () => {
  const { open, look } = looks();
  const rig = await Rig.start({ script: { look } });
  const driver = await rig.driver();
  for (const became of ["started", "queued", "queued"]) {
    const sent = driver.prompt("work");
    await turnsOfLoop();
    rig.clock.advance(limits.agent_look_ms);
    expect(await sent).toMatchObject({ became });
    expect(open).toHaveLength(1);
  }
  for (const end of open) end();
  await turnsOfLoop();
  const next = driver.prompt("work");
  await turnsOfLoop();
  expect(open).toHaveLength(2);
  open[1]?.();
  expect(await next).toMatchObject({ became: "queued" });
});

test("B14 who is displaced while the agent looks sends nothing any more", async () => {
  const { open, look } = looks();
  const rig = await Rig.start({ script: { look } });
  const driver = await rig.driver("first");
  const other = await rig.attach("other");
  const sent = driver.prompt("work").catch((error: unknown) => error);
  await turnsOfLoop();
  await other.takeDriver("force", driver.seatId);
  for (const end of open) end();
  expect(await sent).toMatchObject({ code: "not_driver" });
  expect(eventsOf(await rig.journal(), "prompt_accepted")).toEqual([]);
});

test("B18 an agent whose look does not end holds a prompt up for no longer than its limit", async () => {
  const rig = await Rig.start({ script: { look: () => new Promise<void>(() => undefined) } });
  const driver = await rig.driver();
  const sent = driver.prompt("work");
  await turnsOfLoop();
  rig.clock.advance(limits.agent_look_ms);
  expect(await sent).toMatchObject({ became: "started" });
});

test("B26 B36 leave reaches the agent when it is on disk that it was given; where the disk fails, never", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const driver = await rig.driver();
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  await turn.call("c1");
  let heard = false;
  const answer = turn.ask("c1").finally(() => (heard = true));
  const { approval } = await driver.event("approval_requested");
  const hold = disk.hold("write", "journal");
  const approved = driver.approve(approval).catch((error: unknown) => error);
  await hold.reached;
  await turnsOfLoop(20);
  expect(heard).toBe(false);
  hold.release("EIO");
  expect(await approved).toMatchObject({ code: "storage_failed" });
  expect(await answer).toMatchObject({ allowed: false });
});

import { createHook } from "node:async_hooks";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { Paths } from "../../packages/daemon/src/agents/openai/paths.ts";
import { Workdir } from "../../packages/daemon/src/agents/openai/workdir.ts";
import { CountedWork } from "../support/counted-work.ts";
import { NotingDisk } from "../support/noting-disk.ts";
import { endRigs, Rig } from "../support/session-rig.ts";
import { TrappedDisk } from "../support/trapped-disk.ts";

/** What a single call costs at most: what is waited for between the question and its answer. Counted, not timed. */
let counting: CountedWork | undefined;
afterEach(async () => {
  counting?.end();
  await endRigs();
});

test("B18 B30 a prompt is answered with one write, one sync and each secret hashed once", async () => {
  const rig = await Rig.start();
  const driver = await rig.driver();
  counting = new CountedWork(rig.daemon.counters);
  const work = await counting.of(() => driver.prompt("hello"));
  // Token, seat, and the content, by which a repeat is known.
  expect(work).toMatchObject({ framesEncoded: 3, journalWrites: 1, journalSyncs: 1, filesReplaced: 0, digests: 3 });
});

test("B18 an agent is given a prompt when it is on disk and its sender has been answered", async () => {
  const disk = new TrappedDisk();
  const rig = await Rig.start({ disk });
  const driver = await rig.driver();
  const sync = disk.hold("sync", "/journal");
  const order: string[] = [];
  const answered = driver.prompt("work").then(() => order.push("answered"));
  const begun = rig.kind.turn().then(() => order.push("begun"));
  await sync.reached;
  await driver.event("turn_started");
  expect(order).toEqual([]);
  sync.release();
  await Promise.all([answered, begun]);
  expect(order).toEqual(["answered", "begun"]);
});

test("B30 what is asked of a session that nothing happens to is looked at by the gate once", async () => {
  const rig = await Rig.start();
  counting = new CountedWork(rig.daemon.counters);
  expect(await counting.of(() => rig.info())).toMatchObject({ digests: 1, framesEncoded: 0 });
  // Those that wait for one another within a turn of the event loop.
  const together = await counting.of(() => Promise.all(Array.from({ length: 8 }, () => rig.info())));
  expect(together.digests).toBe(8);
});

test("B10 a session is created with three files replaced and two syncs of its journal", async () => {
  const rig = await Rig.start();
  counting = new CountedWork(rig.daemon.counters);
  const create = () => rig.daemon.call("start_session", { workdir: rig.workdir, request_id: `req_${"r".repeat(22)}` }, { host_key: rig.daemon.hostKey });
  // Its mark, its file with variables and token, and the registry.
  expect(await counting.of(create)).toMatchObject({ filesReplaced: 3, framesEncoded: 1, journalSyncs: 2 });
});

test("B10 a creation reads nothing of the disk: what it makes is new, and it knows that", async () => {
  const disk = new NotingDisk();
  const rig = await Rig.start({ disk });
  disk.noted.length = 0;
  await rig.daemon.call("start_session", { workdir: rig.workdir, request_id: `req_${"r".repeat(22)}` }, { host_key: rig.daemon.hostKey });
  const steps = disk.noted.map(({ step, path }) => `${step} ${path.replace(/.*\/sessiond\//, "").replace(/ses_\w+/, "<id>")}`);
  expect(steps).toEqual([
    "replace open/<id>",
    "makeDirectory sessions/<id>",
    "syncDirectory sessions",
    "open sessions/<id>/journal",
    "syncDirectory sessions/<id>",
    "replace sessions/<id>/session.json",
    "replace registry.json",
  ]);
});

test("a creation makes as much text whatever the number of sessions that there are", async () => {
  const rig = await Rig.start();
  const create = (number: number) =>
    rig.daemon.call("start_session", { workdir: rig.workdir, request_id: `req_${String(number).padStart(22, "0")}` }, { host_key: rig.daemon.hostKey });
  counting = new CountedWork(rig.daemon.counters);
  await create(0);
  const second = await counting.of(() => create(1));
  for (let number = 2; number < 30; number++) await create(number);
  const { jsonChars, encodedChars: _registry, ...later } = await counting.of(() => create(30));
  expect(second).toMatchObject(later);
  // Less than an entry: a call's time and an event's number have more digits.
  expect(Math.abs(jsonChars - second.jsonChars)).toBeLessThan(100);
});

test("a working directory is looked at with two steps of the thread pool before a question", async () => {
  const root = await realpath(await mkdtemp(join(tmpdir(), "sessiond-hops-")));
  const paths = new Paths(new Workdir(root), []);
  await paths.mustStand();
  let steps = 0;
  const hook = createHook({ init: (_id, type) => void (type === "FSREQPROMISE" && (steps += 1)) }).enable();
  await paths.mustStand();
  hook.disable();
  await rm(root, { recursive: true });
  expect(steps).toBe(2);
});

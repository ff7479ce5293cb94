import { rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { endRigs, eventsOf, Rig } from "../support/session-rig.ts";

afterEach(endRigs);

const stopIn = (rig: Rig, workdir: string) => rig.daemon.call("stop_workdir_session", { workdir }, { host_key: rig.daemon.hostKey });

test("B9 B35 a directory's session is stopped by each of the directory's names, and a repeat gets the same answer", async () => {
  const rig = await Rig.start();
  const other = await rig.daemon.call("start_session", { request_id: `req_${"A".repeat(22)}`, workdir: rig.workdir }, { host_key: rig.daemon.hostKey });
  const link = join(rig.daemon.root, "link");
  await symlink(rig.workdir, link);
  const stopped = await stopIn(rig, `${link}/`);
  expect(stopped).toEqual({ session_id: rig.sessionId, life: 1, seq: expect.any(Number) });
  expect(await stopIn(rig, join(rig.workdir, "..", "work"))).toEqual(stopped);
  const frames = await rig.journal();
  expect(eventsOf(frames, "session_stopped")).toEqual([{ type: "session_stopped", life: 1, by: { label: "owner" } }]);
  expect(frames.at(-1)?.seq).toBe(stopped.seq);
  // The one session of the directory, and no other that works in it.
  expect((await rig.daemon.call("session_info", { session_id: other.session.session_id }, { token: other.token })).life_state).toBe("live");
  // A directory that is gone is its key still.
  await rig.startSession();
  await rm(rig.workdir, { recursive: true });
  expect(await stopIn(rig, rig.workdir)).toMatchObject({ session_id: rig.sessionId, life: 2 });
});

test("B9 where a directory has no session of its own there is nothing to stop", async () => {
  const rig = await Rig.start();
  for (const workdir of [rig.daemon.root, join(rig.workdir, "below"), "work", "/", "\0"])
    await expect(stopIn(rig, workdir), workdir).rejects.toMatchObject({ code: "not_found", detail: { what: "session" } });
  expect((await rig.info()).life_state).toBe("live");
});

test("B35 a start that has just come is waited for, and ended too", async () => {
  const rig = await Rig.start();
  await rig.stop();
  const starting = rig.startSession();
  // In the instant after the start was let in: it holds the directory's turn.
  await new Promise((resolve) => setImmediate(resolve));
  const stopped = await stopIn(rig, rig.workdir);
  expect(await starting).toMatchObject({ created: true, session: { life: 2 } });
  expect([1, 2]).toContain(stopped.life);
  if (stopped.life === 2) expect((await rig.info()).life_state).toBe("stopped");
});

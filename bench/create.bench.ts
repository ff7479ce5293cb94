import { readFileSync } from "node:fs";
import { join } from "node:path";
import { p50Of, timeRow } from "./bursts.ts";
import { pairs } from "./pairs.ts";
import { QuickClient } from "./quick-client.ts";
import { withRig, type Rig } from "./rig.ts";
import type { Bench } from "./row.ts";

/**
 * What a session's creation costs beside the disk. The limit writes the same bytes into files of the same names, with
 * the same syncs in the same order (limit/steps.ts), and its registry is as long as the daemon's.
 */
export const create: Bench = {
  name: "create",
  about: "start_session; limit: ping + the same file steps bare",
  run: (how) =>
    withRig(how, async (rig) => {
      const count = how.short ? 3 : 9;
      const rounds = { count: how.short ? 10 : 20, warm: 1 };
      const quick = await QuickClient.open(rig.limit);
      let last = (await rig.host.startSession({ workdir: rig.home.workdir })).id;
      const compared = await pairs(
        count,
        () => p50Of(async () => (last = (await rig.host.startSession({ workdir: rig.home.workdir })).id), rounds),
        async () => {
          const asked = { workdir: rig.home.workdir, request_id: "req_0123456789ABCDEFGHIJab", ...contentsOf(rig, last) };
          return p50Of(() => quick.call("mutation", "create", asked), rounds);
        },
      );
      return [timeRow("create, start_session", compared, { atMost: 1.5 })];
    }),
};

/** What the newest session's creation has left on the disk. */
function contentsOf({ home }: Rig, id: string): { registry: string; file: string; lines: string[] } {
  const [registry, file] = ["registry.json", join("sessions", id, "session.json")].map((name) => readFileSync(join(home.stateDir, name), "utf8"));
  const lines = home.journalText(id).split("\n").slice(0, -1);
  if (registry === undefined || file === undefined || lines.length !== 2) throw new Error(`a new session's journal has ${lines.length} lines`);
  return { registry, file, lines };
}

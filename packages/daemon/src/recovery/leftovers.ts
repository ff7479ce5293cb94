import { lstat, readdir, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { schemas, type Finding } from "@sessiond/shared";
import { isErrno } from "../disk.ts";
import { isTemporary } from "../room/segment.ts";
import type { Situation, Trouble } from "./examination.ts";
import { setAsideName } from "./store-check.ts";

/**
 * What lies in the daemon's directories and belongs to nothing any more: files of writes that were
 * cut short, marks of sessions that never came to be, and what was set aside, which only a person
 * may remove.
 */
export async function leftoverTroubles(situation: Situation): Promise<Trouble[]> {
  const { stateDir, runtimeDir } = situation.examination;
  const sessions = [...situation.facts.folders].map((id) => join(stateDir, "sessions", id));
  const directories = [runtimeDir, stateDir, join(stateDir, "sessions"), join(stateDir, "open"), join(stateDir, "unused"), ...sessions];
  const found = await Promise.all(directories.map((directory) => inDirectory(directory, situation)));
  return [...found.flat(), ...(await markTroubles(situation))];
}

async function inDirectory(directory: string, situation: Situation): Promise<Trouble[]> {
  const names = await readdir(directory).catch(() => []);
  const isSession = situation.facts.folders.has(basename(directory));
  return names.flatMap((name): Trouble[] => {
    const path = join(directory, name);
    if (setAsideName.test(name)) return [{ finding: setAside(path) }];
    const writer = writerOf(name);
    // What the daemon's own process writes may be under way.
    if (writer !== null) return situation.occupied && (situation.holders.length === 0 || situation.holders.includes(writer)) ? [] : [removable(path, true)];
    if (situation.occupied) return [];
    const leftover = (isSession && isTemporary(name)) || (directory === situation.examination.runtimeDir && name === ".new");
    return leftover ? [removable(path, false)] : [];
  });
}

/** Pid of whoever made a temporary file; null when the name is none of ours. */
function writerOf(name: string): number | null {
  const pid = /^\.probe-(\d+)$/.exec(name)?.[1] ?? /^\..+\.(\d+)-\d+$/.exec(name)?.[1];
  return pid === undefined ? null : Number(pid);
}

function removable(path: string, beside: boolean): Trouble {
  const what = "a write that was cut short left this file; what it was to replace is as it was";
  return {
    finding: { kind: "leftover", weight: "wrong", path, what, mend: "`sessiond doctor --fix` removes it" },
    repair: { beside, run: () => rm(path, { force: true }) },
  };
}

const setAside = (path: string): Finding => ({
  kind: "set_aside",
  weight: "wrong",
  path,
  what: "this could not be read, and was set aside; nothing of it was deleted",
  mend: "look at it (`sessiond verify` says what the session has without it), then move it out of the state directory",
});

/** Marks of sessions that the registry does not have. Beside a daemon such a session may be in the making. */
async function markTroubles({ examination: { stateDir }, occupied, facts: { entries } }: Situation): Promise<Trouble[]> {
  if (occupied || entries === null) return [];
  const troubles: Trouble[] = [];
  for (const kind of ["open", "unused"] as const) {
    for (const name of await readdir(join(stateDir, kind)).catch(() => [])) {
      const path = join(stateDir, kind, name);
      if (entries.has(name) || writerOf(name) !== null) continue;
      // A deletion that was decided: the next start ends it, and needs the mark for it.
      if (kind === "unused" && schemas.sessionId.safeParse(name).success && (await exists(join(stateDir, "sessions", name)))) continue;
      const what = `${kind}/${name} is a mark of a session that there is not`;
      const finding: Finding = { kind: "leftover", weight: "wrong", path, what, mend: "nothing to do, or `sessiond doctor --fix`" };
      troubles.push({ finding, repair: { beside: false, run: () => rm(path, { force: true }) } });
    }
  }
  return troubles;
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    return !isErrno(error, "ENOENT");
  }
}

import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { limits, type RecoveryLine, type VerifiedSession } from "@sessiond/shared";
import type { Disk } from "../disk.ts";
import { dial } from "../lifecycle.ts";
import { Findings } from "./finding.ts";
import { holdersOf } from "./lock-holders.ts";
import { checkSession } from "./session-check.ts";
import { named } from "./session-names.ts";
import { newerFormat, storeFacts, type StoreFacts } from "./store-check.ts";

/**
 * `sessiond verify`: says of each journal whether it is whole. Reads only, wakes and locks nothing,
 * with a daemon beside it or without. What a running daemon changes while it is read is read again
 * before it is called damage.
 */
export interface Verification {
  readonly stateDir: string;
  readonly socket: string;
  readonly disk: Disk;
  /** Ids, unique beginnings of ids, or directories; none: all sessions. */
  readonly names: readonly string[];
  readonly progress: boolean;
  readonly tell: (line: RecoveryLine) => void;
}

const lookAgainTimes = 3;
const lookAgainMs = 200;
const progressBytes = 1_048_576;

export async function verify(asked: Verification): Promise<void> {
  const { disk, stateDir, tell } = asked;
  const newer = await newerFormat(asked);
  if (newer !== null) return tell({ type: "finding", finding: newer });
  const findings = new Findings(limits.recovery_findings_max);
  const facts = await storeFacts(disk, stateDir, findings);
  const all = [...new Set([...(facts.entries?.keys() ?? []), ...facts.folders])];
  const chosen = new Set<string>();
  for (const name of asked.names) {
    const id = await named(name, all, facts);
    if (typeof id !== "string") return tell({ type: "refused", reason: id.reason });
    chosen.add(id);
  }
  for (const finding of findings.all()) tell({ type: "finding", finding });
  const live = await daemonIsThere(asked);
  const ids = asked.names.length === 0 ? all : [...chosen];
  const read = await progressOf(asked, ids);
  for (const id of ids) {
    const session = await steady(asked, { id, facts, live, read: (bytes) => read(id, bytes) });
    if (session !== null) tell({ type: "session", session });
  }
}

/** Somebody may be writing; also a daemon that hangs, or one that has its socket elsewhere. */
async function daemonIsThere({ socket, stateDir }: Pick<Verification, "socket" | "stateDir">): Promise<boolean> {
  const answer = await dial(socket, limits.doctor_wait_ms);
  return answer === "answers" || answer === "silent" || (await holdersOf(join(stateDir, "lock"))).length > 0;
}

interface One {
  readonly id: string;
  readonly facts: StoreFacts;
  readonly live: boolean;
  readonly read: (bytes: number) => void;
}

/** What is wrong beside a running daemon must be wrong when looked at again; null when it was deleted meanwhile. */
async function steady({ disk, stateDir }: Verification, { id, facts, live, read }: One): Promise<VerifiedSession | null> {
  let now = facts;
  for (let times = 1; ; times++) {
    const entry = now.entries === null ? undefined : (now.entries.get(id) ?? null);
    const session = await checkSession({ disk, stateDir, id, entry, open: now.open.has(id), live, read });
    if (!live || session.whole || times >= lookAgainTimes) return session;
    await pause(lookAgainMs);
    now = await storeFacts(disk, stateDir, new Findings(limits.recovery_findings_max));
    if (!now.folders.has(id) && now.entries?.has(id) === false) return null;
  }
}

/** Told every so many bytes, of how many there were at the beginning. */
async function progressOf({ stateDir, progress, tell }: Verification, ids: readonly string[]): Promise<(id: string, bytes: number) => void> {
  if (!progress) return () => undefined;
  const sizes = await Promise.all(ids.map((id) => bytesIn(join(stateDir, "sessions", id))));
  const of = sizes.reduce((sum, size) => sum + size, 0);
  let done = 0;
  let told = 0;
  return (id, bytes) => {
    done = Math.min(of, done + bytes);
    if (done - told < progressBytes) return;
    told = done;
    tell({ type: "progress", what: id, done, of });
  };
}

/** Of a journal's files, without what was set aside. */
async function bytesIn(directory: string): Promise<number> {
  const names = (await readdir(directory).catch(() => [])).filter((name) => /^journal(-\d+)?$/.test(name));
  const sizes = await Promise.all(
    names.map((name) =>
      lstat(join(directory, name)).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

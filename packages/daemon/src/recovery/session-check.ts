import { lstat } from "node:fs/promises";
import { join } from "node:path";
import { limits, type SessionState, type VerifiedSession } from "@sessiond/shared";
import type { Disk } from "../disk.ts";
import type { RegistryEntry } from "../host/registry-file.ts";
import { sessionFile, type SessionFile } from "../host/session-file.ts";
import { backup, Findings } from "./finding.ts";
import { checkJournal } from "./journal-check.ts";
import { checkedFile, namesIn, setAsideName } from "./store-check.ts";

/** One session: its journal, its `session.json`, its entry in the registry, and whether they say the same. */
export interface SessionPlace {
  readonly disk: Disk;
  readonly stateDir: string;
  readonly id: string;
  /** Null: the registry has none; undefined: there is no registry to ask. */
  readonly entry: RegistryEntry | null | undefined;
  /** It is marked as open: the next start, or the daemon that runs, brings its entry up to its journal. */
  readonly open: boolean;
  /** A daemon runs. */
  readonly live: boolean;
  readonly read: (bytes: number) => void;
}

/** Never throws: what cannot be read is a finding. */
export async function checkSession(place: SessionPlace): Promise<VerifiedSession> {
  const { stateDir, id, entry, live, open } = place;
  const directory = join(stateDir, "sessions", id);
  const findings = new Findings(limits.recovery_findings_max, { session_id: id });
  const about = { session_id: id, workdir: entry?.workdir ?? null };
  if ((await lstat(directory).catch(() => null)) === null) {
    findings.wrong("entry_without_folder", {
      path: directory,
      what: "the registry has this session, and its folder is gone",
      mend: `${backup}; else nothing: the next call on it begins anew, without its conversation`,
    });
    return { ...about, whole: false, frames: 0, segments: 0, bytes: 0, compacted_through: 0, findings: findings.all() };
  }
  const names = await namesIn(directory, findings);
  for (const name of names.filter((each) => setAsideName.test(each)))
    findings.note("set_aside", {
      path: join(directory, name),
      what: "this could not be read at an earlier start, and was set aside",
      mend: "look at it, then move it away",
    });
  const journal = await checkJournal({ ...place, sessionId: id, directory, limits, live: live && open }, findings).catch(() => null);
  const file = await checkFile(place, findings);
  if (entry === null && !(live && open))
    findings.note("folder_without_entry", {
      path: directory,
      what: "the registry does not have this session",
      mend: "`sessiond doctor` says what it is and what to do with it",
    });
  if (journal?.state != null && entry != null) checkEntry(journal.state, entry, place, findings);
  const { frames = 0, segments = 0, bytes = 0, compactedThrough: compacted_through = 0 } = journal ?? {};
  const all = findings.all();
  const workdir = about.workdir ?? file?.workdir ?? null;
  return { session_id: id, workdir, whole: all.every(({ weight }) => weight === "note"), frames, segments, bytes, compacted_through, findings: all };
}

/** @returns what its `session.json` holds; null when it cannot be used */
export async function checkFile(
  { disk, stateDir, id, entry }: Pick<SessionPlace, "disk" | "stateDir" | "id" | "entry">,
  findings: Findings,
): Promise<SessionFile | null> {
  const path = join(stateDir, "sessions", id, "session.json");
  const file = await checkedFile(disk, path, sessionFile);
  const reason = typeof file === "string" ? file : file.session_id === id ? null : "it is another session's";
  if (typeof file === "string" || reason !== null) {
    const kept = reason === "missing" ? "" : "it is kept as session.json.unreadable-…, and ";
    findings.wrong("session_file", {
      path,
      what: reason === "missing" ? "session.json is not there, and the session's tokens with it" : `session.json cannot be read: ${reason}`,
      mend: `${backup}; else mint new tokens (\`sessiond token mint\`)`,
      next_start: entry === undefined ? "the folder is kept under another name" : `${kept}a new one without tokens is made; the conversation stays`,
    });
    return null;
  }
  const words = ({ workdir, stable }: { workdir: string; stable: boolean }): string => `${workdir}${stable ? "" : " (extra)"}`;
  if (entry != null && words(file) !== words(entry))
    findings.wrong("entry_differs", {
      path,
      what: `session.json says ${words(file)}, the registry ${words(entry)}`,
      mend: "the registry is what counts; put a backup of it in its place if that is wrong",
    });
  return file;
}

/** While it is open its entry may be behind its journal, which knows better. */
function checkEntry(state: SessionState, entry: RegistryEntry, { stateDir, open }: SessionPlace, findings: Findings): void {
  const path = join(stateDir, "registry.json");
  if (state.life === 0) {
    if (findings.list.some(({ weight }) => weight === "wrong")) return;
    return findings.wrong("journal_missing", {
      path: join(stateDir, "sessions", entry.id),
      what: "its journal holds no frame: the conversation is gone",
      mend: `${backup}; else nothing: the next start in its directory begins anew`,
    });
  }
  if (state.workdir !== entry.workdir)
    findings.wrong("entry_differs", {
      path,
      what: `the journal was begun in ${state.workdir}, the registry says ${entry.workdir}`,
      mend: "the registry is what counts; put a backup of it in its place if that is wrong",
    });
  const stopped = state.life_state === "stopped";
  if (open || (state.life === entry.life && stopped === entry.stopped)) return;
  const words = (life: number, over: boolean): string => `life ${life} ${over ? "has ended" : "goes on"}`;
  findings.wrong("entry_differs", {
    path,
    what: `by its journal ${words(state.life, stopped)}, by the registry ${words(entry.life, entry.stopped)}`,
    mend: entry.stopped ? "nothing to do: the next start in its directory goes by the journal" : "nothing to do: the next call on it goes by the journal",
  });
}

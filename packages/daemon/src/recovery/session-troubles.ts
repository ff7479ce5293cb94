import { lstat, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { limits, type Finding } from "@sessiond/shared";
import { isHalfReplaced } from "../disk.ts";
import { UnusedMarks } from "../host/unused-marks.ts";
import { neverUsed } from "../host/unused.ts";
import { afterOf, isTemporary } from "../room/segment.ts";
import type { Situation, Trouble } from "./examination.ts";
import { backup, count, Findings } from "./finding.ts";
import { checkJournal } from "./journal-check.ts";
import { checkFile } from "./session-check.ts";

/** Sessions that are not whole as a set: folders without an entry, entries without a folder, files that cannot be read. */
export async function sessionTroubles(situation: Situation): Promise<Trouble[]> {
  const { facts } = situation;
  const ids = [...new Set([...(facts.entries?.keys() ?? []), ...facts.folders])];
  const troubles: Trouble[] = [];
  for (const id of ids) troubles.push(...(await ofSession(id, situation)));
  return troubles;
}

async function ofSession(id: string, situation: Situation): Promise<Trouble[]> {
  const { examination, facts, occupied } = situation;
  const directory = join(examination.stateDir, "sessions", id);
  const entry = facts.entries === null ? undefined : (facts.entries.get(id) ?? null);
  const there = await lstat(directory).catch(() => null);
  if (there === null && entry == null) return [];
  if (there === null) return [{ finding: gone(id, directory) }];
  const findings = new Findings(limits.recovery_findings_max, { session_id: id });
  if (entry !== null) {
    await checkFile({ ...examination, id, entry }, findings);
    return findings.all().map((finding) => ({ finding }));
  }
  // In the making, or being deleted.
  return occupied && facts.open.has(id) ? [] : withoutEntry(id, directory, situation);
}

/** What a session's folder holds by itself; anything else may be what is left of a conversation. */
const isOfSession = (name: string): boolean => name === "session.json" || afterOf(name) !== null || isTemporary(name) || isHalfReplaced(name);

const gone = (id: string, path: string): Finding => ({
  kind: "entry_without_folder",
  weight: "wrong",
  session_id: id,
  path,
  what: `the registry has ${id}, and its folder is gone`,
  mend: `${backup}; else nothing: the next call on it begins anew, without its conversation`,
});

/**
 * Only a folder in which nobody ever said anything is removed: a creation that was cut short before
 * anybody was told of it. A conversation is never deleted, wherever it lies.
 */
async function withoutEntry(id: string, directory: string, { examination }: Situation): Promise<Trouble[]> {
  const { disk, stateDir } = examination;
  const about = { session_id: id, path: directory };
  const mark = await new UnusedMarks(stateDir, disk).read(id).catch(() => null);
  if (mark?.doomed === true)
    return [
      {
        finding: {
          kind: "leftover",
          weight: "note",
          ...about,
          what: "the deletion of a session that was never used was cut short",
          mend: "nothing to do",
          next_start: "it is ended",
        },
      },
    ];
  const findings = new Findings(limits.recovery_findings_max, { session_id: id });
  const journal = await checkJournal({ disk, directory, sessionId: id, limits, live: false, read: () => undefined }, findings).catch(() => null);
  const names = await readdir(directory).catch(() => null);
  const state = journal?.state ?? null;
  const whole = findings.all().every(({ weight, kind }) => weight === "note" || kind === "journal_missing") && names?.every(isOfSession) === true;
  const empty = whole && state !== null && neverUsed(state) && state.messages.length === 0 && state.older_before === null;
  if (empty)
    return [
      {
        finding: {
          kind: "folder_without_entry",
          weight: "wrong",
          ...about,
          what: "a session's creation was cut short here, before anybody was told of it; nobody ever said anything in it",
          mend: "`sessiond doctor --fix` removes it",
        },
        repair: { beside: false, run: () => rm(directory, { recursive: true, force: true }) },
      },
    ];
  const what = `the registry does not have this session, and it holds ${count(journal?.frames ?? 0, "frame")}${whole ? "" : ", not all of them readable"}: it may be a conversation`;
  const mend = `to have it back: \`sessiond down\`, then move ${join(stateDir, "registry.json")} away; the next start makes the registry anew from the folders. If nobody wants it, move the folder away`;
  return [{ finding: { kind: "folder_without_entry", weight: "wrong", ...about, what, mend } }];
}

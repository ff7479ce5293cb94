import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { limits, type RecoveryLine } from "@sessiond/shared";
import type { Disk } from "../disk.ts";
import { AuditReader, type AuditLine } from "./audit-reading.ts";
import { Findings } from "./finding.ts";
import { named } from "./session-names.ts";
import { storeFacts } from "./store-check.ts";

/** `sessiond audit`: tells the lines of the audit file, the older ones first. Reads only, with a daemon beside it or without. */
export interface AuditShowing {
  readonly stateDir: string;
  readonly disk: Disk;
  /** An id, a unique beginning of one, or a directory; null: of all sessions and of none. */
  readonly session: string | null;
  /** Go on until nobody listens. */
  readonly follow: boolean;
  /** Resolves when there is room for more. */
  readonly tell: (line: RecoveryLine) => Promise<void>;
  /** False when whoever listened has gone. */
  readonly heard: () => boolean;
}

export async function audit(asked: AuditShowing): Promise<void> {
  const path = join(asked.stateDir, "audit.jsonl");
  const session = asked.session === null ? null : await sessionOf(asked, path, asked.session);
  if (session !== null && typeof session !== "string") return asked.tell({ type: "refused", reason: session.reason });
  const reader = new AuditReader(path, limits.audit_files_kept);
  try {
    for (;;) {
      for await (const line of reader.further()) await tellLine(asked, line, session);
      if (!asked.follow || !asked.heard()) break;
      await pause(limits.audit_look_ms);
    }
    // The daemon may just be writing it, but then it is not to be read yet either.
    const unfinished = reader.unfinished();
    if (unfinished !== null) await asked.tell({ type: "torn", file: unfinished.file, line: unfinished.line });
  } finally {
    await reader.close();
  }
}

async function tellLine({ tell }: AuditShowing, { text, file, line }: AuditLine, session: string | null): Promise<void> {
  // What begins anew behind a torn line begins with the end of that one.
  if (text === "") return;
  const entry = entryOf(text);
  if (entry === null) return tell({ type: "torn", file, line });
  if (session === null || entry["session"] === session) await tell({ type: "audit", entry: text });
}

/** Null for what is no line of the audit file. */
function entryOf(text: string): Record<string, unknown> | null {
  try {
    const entry: unknown = JSON.parse(text);
    return typeof entry === "object" && entry !== null && "verb" in entry ? { ...entry } : null;
  } catch {
    return null;
  }
}

/** A session that was deleted is known to the audit file alone. */
async function sessionOf({ disk, stateDir }: AuditShowing, path: string, name: string): Promise<string | { reason: string }> {
  const facts = await storeFacts(disk, stateDir, new Findings(limits.recovery_findings_max));
  const ids = new Set([...(facts.entries?.keys() ?? []), ...facts.folders]);
  const reader = new AuditReader(path, limits.audit_files_kept);
  try {
    for await (const { text } of reader.further()) {
      const id = entryOf(text)?.["session"];
      if (typeof id === "string") ids.add(id);
    }
  } finally {
    await reader.close();
  }
  return named(name, [...ids], facts);
}

import { readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { schemas, stateFormat, type Finding, type FindingKind } from "@sessiond/shared";
import { z } from "zod";
import { diskReason, isErrno, type Disk } from "../disk.ts";
import { keysFile } from "../host/api-keys.ts";
import { registryFile, type RegistryEntry } from "../host/registry-file.ts";
import { rulesFile } from "../host/remembered-answers.ts";
import type { Findings } from "./finding.ts";

/** What the state directory says there is, as it lies there; reads the small files, changes nothing. */
export interface StoreFacts {
  /** Null when the registry is missing or cannot be read. */
  readonly entries: ReadonlyMap<string, RegistryEntry> | null;
  /** Names in `sessions/` that are ids. */
  readonly folders: ReadonlySet<string>;
  /** Sessions that may be written to. */
  readonly open: ReadonlySet<string>;
}

export const setAsideName = /\.(damaged|unreadable)-\d+$/;
const isId = (name: string): boolean => schemas.sessionId.safeParse(name).success;

/** A finding, where a newer version has made the directory its own (host/state-format.ts); null where this one may judge it. */
export async function newerFormat({ disk, stateDir }: { readonly disk: Disk; readonly stateDir: string }): Promise<Finding | null> {
  const path = join(stateDir, "format.json");
  const found = await checkedFile(disk, path, z.object({ format: z.int() }));
  if (typeof found === "string" || found.format <= stateFormat) return null;
  const what = `a newer sessiond made ${stateDir} its own (form ${found.format}; this one knows form ${stateFormat}), and this one leaves it alone`;
  return { kind: "place", weight: "wrong", path, what, mend: "update this sessiond, or use the newer one" };
}

/** In this order: a session that is being made has its mark before its folder, and its entry last. */
export async function storeFacts(disk: Disk, stateDir: string, findings: Findings): Promise<StoreFacts> {
  const folders = new Set((await namesIn(join(stateDir, "sessions"), findings)).filter(isId));
  const open = new Set(await namesIn(join(stateDir, "open"), findings));
  const path = join(stateDir, "registry.json");
  const registry = await checkedFile(disk, path, registryFile);
  if (typeof registry === "string") {
    const missing = registry === "missing";
    if (!missing || folders.size > 0)
      findings.wrong("registry", {
        path,
        what: missing ? "the registry is not there" : `the registry cannot be read: ${registry}`,
        mend: "nothing to do: start the daemon",
        next_start: `${missing ? "it" : "it is kept as registry.json.unreadable-…, and"} is made anew from the sessions' folders`,
      });
  }
  await mustBeReadable(disk, join(stateDir, "rules.json"), findings, {
    kind: "rules_file",
    schema: rulesFile,
    what: "the remembered answers",
    mend: "nothing to do: what they answered is asked again",
  });
  await mustBeReadable(disk, join(stateDir, "keys.json"), findings, {
    kind: "keys_file",
    schema: keysFile,
    what: "the API keys",
    mend: "start the daemon, and make new ones: `sessiond key create`",
  });
  const entries = typeof registry === "string" ? null : new Map(registry.sessions.map((entry) => [entry.id, entry]));
  return { entries, folders, open };
}

interface SmallFile {
  readonly kind: FindingKind;
  readonly schema: z.ZodType;
  readonly what: string;
  readonly mend: string;
}

/** A file of which nothing counts when it cannot be read. */
async function mustBeReadable(disk: Disk, path: string, findings: Findings, { kind, schema, what, mend }: SmallFile): Promise<void> {
  const found = await checkedFile(disk, path, schema);
  if (typeof found !== "string" || found === "missing") return;
  const next_start = `the file is kept as ${basename(path)}.unreadable-…, and none of them counts`;
  findings.wrong(kind, { path, what: `${what} cannot be read: ${found}`, mend, next_start });
}

/** @returns what is in it; `missing`, or why it cannot be read */
export async function checkedFile<T>(disk: Disk, path: string, schema: z.ZodType<T>): Promise<T | string> {
  try {
    const text = await disk.readText(path);
    return text === null ? "missing" : schema.parse(JSON.parse(text));
  } catch (error) {
    if (error instanceof SyntaxError) return "it is not JSON";
    return isErrno(error) || (error instanceof Error && "code" in error) ? diskReason(error) : "it has another form, or is of another version";
  }
}

/** Names in a directory that may not be there. */
export async function namesIn(path: string, findings: Findings): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (!isErrno(error, "ENOENT"))
      findings.wrong("unreadable", {
        path,
        what: `this directory cannot be read: ${diskReason(error)}`,
        mend: "make it a directory of this account again, mode 700",
      });
    return [];
  }
}

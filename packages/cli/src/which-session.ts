import { statSync } from "node:fs";
import { homedir } from "node:os";
import { resolve } from "node:path";
import type { Host, SessionListing } from "@sessiond/client";
import { Failure } from "./exit-codes.ts";

/** How a person names a session: by its id, by a unique beginning of it, or by a directory; the one of this directory unless named. */
export interface SessionName {
  readonly session?: string | undefined;
  readonly workdir?: string | undefined;
}

/** An existing session. @throws Failure usage, with what to do instead */
export async function existingSession(host: Host, { session, workdir }: SessionName): Promise<SessionListing> {
  if (session !== undefined && workdir !== undefined) throw new Failure("usage", "Name the session or the directory, not both.");
  if (session !== undefined && !isDirectory(session)) return sessionById(host, session);
  const directory = resolve(workdir ?? session ?? ".");
  const found = await stableSession(host, directory);
  if (found === undefined)
    throw new Failure("usage", `There is no session in ${directory}. \`sessiond run\` starts one; \`sessiond ls --all\` shows those that exist.`);
  return found;
}

async function stableSession(host: Host, directory: string): Promise<SessionListing | undefined> {
  return (await allSessions(host, directory)).find((listing) => listing.stable);
}

/** Newest first. */
export async function allSessions(host: Host, workdir?: string): Promise<SessionListing[]> {
  const found: SessionListing[] = [];
  let after: string | undefined;
  do {
    const page = await host.listSessions({ workdir, after, limit: 500 });
    found.push(...page.sessions);
    after = page.next ?? undefined;
  } while (after !== undefined);
  return found;
}

/** A directory wins only where it looks like one or no id could: `./ses_x` is a path. */
function isDirectory(name: string): boolean {
  if (name.startsWith("ses_")) return false;
  if (name.includes("/") || name === "." || name === "..") return true;
  try {
    return statSync(name).isDirectory();
  } catch {
    // Not there, or nothing that could be: longer than any name, or with a zero in it.
    return false;
  }
}

async function sessionById(host: Host, name: string): Promise<SessionListing> {
  const beginning = name.startsWith("ses_") ? name : `ses_${name}`;
  const matching = (await allSessions(host)).filter((listing) => listing.session_id.startsWith(beginning));
  const [only, second] = matching;
  if (only === undefined) throw new Failure("usage", `No session's id begins with ${beginning}. \`sessiond ls --all\` shows them.`);
  if (second !== undefined) throw new Failure("usage", `${matching.length} sessions' ids begin with ${beginning}; give more of it.`);
  return only;
}

/** Enough of an id to tell sessions apart, and accepted wherever one is named. */
export const shortId = (id: string): string => id.slice(0, 12);

export const homeShort = (path: string): string => {
  const home = homedir();
  return path === home || path.startsWith(`${home}/`) ? `~${path.slice(home.length)}` : path;
};

import { realpath } from "node:fs/promises";
import { resolve } from "node:path";
import { holdsSecret } from "@sessiond/shared";
import type { StoreFacts } from "./store-check.ts";

/**
 * The session that a person names where no daemon is asked: by its id, a unique beginning of it, or its directory.
 *
 * @param ids  those that there are
 */
export async function named(name: string, ids: readonly string[], { entries }: StoreFacts): Promise<string | { reason: string }> {
  if (/[/]|^\.\.?$/.test(name)) {
    const path = await realpath(resolve(name)).catch(() => resolve(name));
    const entry = [...(entries?.values() ?? [])].find(({ workdir, stable }) => stable && workdir === path);
    return entry?.id ?? { reason: `There is no session in ${path}` };
  }
  // Somebody's token in the place of the name is not repeated.
  if (holdsSecret(name)) return { reason: "No session's id begins like this" };
  const beginning = name.startsWith("ses_") ? name : `ses_${name}`;
  const matching = ids.filter((id) => id.startsWith(beginning));
  if (matching.length > 1) return { reason: `${matching.length} sessions' ids begin with ${beginning}; give more of it` };
  return matching[0] ?? { reason: `No session's id begins with ${beginning}` };
}

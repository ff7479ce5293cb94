import { join } from "node:path";
import { SessiondError, stateFormat, version } from "@sessiond/shared";
import { z } from "zod";
import { diskReason, type Disk } from "../disk.ts";

/**
 * `format.json`: of which form the state directory is. An older daemon would read past what it does not know,
 * decide wrongly, and set aside what it cannot read; so it starts only on forms that it knows, and changes
 * nothing of others. Form 1 has no such file. A build that knows a later form writes it before anything else.
 */
const formatFile = z.object({ format: z.int().positive(), written_by: z.string().catch("one that does not say") });

export interface Place {
  readonly root: string;
  readonly disk: Disk;
  readonly now: number;
  setAside(path: string, reason: string): void;
}

/** To be called before anything is read or written there. @throws SessiondError conflict, when a newer build wrote it; storage_failed */
export async function claimFormat({ root, disk, now, setAside }: Place): Promise<void> {
  const path = join(root, "format.json");
  try {
    const text = await disk.readText(path);
    const found = text === null ? null : formatFile.safeParse(parsed(text));
    const format = found?.data?.format ?? 1;
    if (format > stateFormat) {
      const reason = `${root} belongs to a newer sessiond (${found?.data?.written_by}, form ${format}; this is ${version} and knows form ${stateFormat}), so this one leaves it alone. Update it, or start the newer one`;
      throw new SessiondError("conflict", { reason });
    }
    if (found?.success === false) {
      const kept = `${path}.unreadable-${now}`;
      await disk.rename(path, kept);
      setAside(kept, "the state directory's form cannot be read; it counts as one that this version knows");
    }
    if (format < stateFormat) await disk.replace(path, `${JSON.stringify({ format: stateFormat, written_by: version })}\n`);
  } catch (cause) {
    throw cause instanceof SessiondError ? cause : new SessiondError("storage_failed", { reason: diskReason(cause) }, { cause });
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

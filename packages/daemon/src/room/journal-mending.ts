import { SessiondError } from "@sessiond/shared";
import type { Disk, DiskFile } from "../disk.ts";

/** What is done to a journal's file before it goes on: after a fault of this process, or damage. */

/** Where a journal that failed must be taken up again. */
export interface CutPoint {
  /** The segment that was written to. */
  readonly after: number;
  /** End of the last shown line. */
  readonly shown: number;
  /** End of what a sync has covered. */
  readonly synced: number;
}

export async function rewriteUnsynced(file: DiskFile, cut: CutPoint): Promise<void> {
  if ((await file.size()) < cut.shown) throw new SessiondError("storage_failed", { reason: "the journal is shorter than what was shown" });
  await file.truncate(cut.shown);
  // A failed sync may have dropped it.
  if (cut.shown > cut.synced) await file.write(cut.synced, await file.read(cut.synced, cut.shown - cut.synced));
}

/** A bad line in the middle: the whole file is copied to another name before the good part alone goes on. */
export async function keepAside(disk: Disk, file: DiskFile, kept: string): Promise<void> {
  const target = await disk.open(kept, "write");
  const step = 1_048_576;
  try {
    const size = await file.size();
    for (let position = 0; position < size; position += step) await target.write(position, await file.read(position, Math.min(step, size - position)));
    await target.datasync();
  } finally {
    await target.close();
  }
}

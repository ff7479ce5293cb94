import { join } from "node:path";
import { schemas, type SessionId } from "@sessiond/shared";
import { z } from "zod";
import type { Disk } from "../disk.ts";

/**
 * `unused/<id>`: this session is not in memory and has never had a turn. A start looks at exactly
 * these to find what is to be deleted, instead of reading every journal.
 *
 * A mark is no proof: `seq` is the frame up to which it is known, and who deletes compares it with
 * the journal. `since`: when its time began to run, as it was known then. `doomed` is a deletion's
 * commit point: from then on there is no such session, whatever of it is still on the disk, and a
 * start removes the rest.
 */
const unusedMark = z.strictObject({ seq: schemas.seq, since: schemas.millis, doomed: z.boolean() });
export type UnusedMark = z.infer<typeof unusedMark>;

export class UnusedMarks {
  readonly directory: string;
  readonly #disk: Disk;

  constructor(root: string, disk: Disk) {
    this.directory = join(root, "unused");
    this.#disk = disk;
  }

  /** On disk when it resolves. */
  write(id: SessionId, mark: UnusedMark): Promise<void> {
    return this.#disk.replace(join(this.directory, id), JSON.stringify(mark));
  }

  /** Null when there is none that can be read; then the session is kept. */
  async read(id: SessionId): Promise<UnusedMark | null> {
    const text = await this.#disk.readText(join(this.directory, id));
    return text === null ? null : parsed(text);
  }

  /** It is gone for good when this resolves: a mark that came back after a loss of power would be a lie. */
  async remove(id: SessionId): Promise<void> {
    const path = join(this.directory, id);
    if ((await this.#disk.readText(path)) === null) return;
    await this.#disk.remove(path);
    await this.#disk.syncDirectory(this.directory);
  }

  async all(): Promise<SessionId[]> {
    const names = await this.#disk.list(this.directory);
    return names.filter((name) => schemas.sessionId.safeParse(name).success);
  }
}

function parsed(text: string): UnusedMark | null {
  try {
    return unusedMark.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

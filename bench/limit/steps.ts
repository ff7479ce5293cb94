import { constants } from "node:fs";
import { mkdir, open, rename, type FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { initTRPC } from "@trpc/server";
import { z } from "zod";

/**
 * The file steps that the daemon's promises cost, bare: nothing is looked up, checked or remembered. One after another,
 * as each of them rests on the one before.
 */
export const stepsRouter = (trpc: ReturnType<typeof initTRPC.create>, directory: string) => {
  let log: Promise<Log> | undefined;
  let prepared: Promise<unknown> | undefined;
  // Open for as long as the process lives, as a live session's journal is.
  const journals: Log[] = [];
  return trpc.router({
    /** What a durable acknowledgement costs at least. */
    append: trpc.procedure
      .input(z.object({ text: z.string() }))
      .output(z.object({ seq: z.int() }))
      .mutation(async ({ input }) => ({ seq: await (await (log ??= Log.open(join(directory, "log")))).append(input.text) })),
    /** What a session's creation does to the disk, step by step (room/journal-opening.ts, host/starts.ts). */
    create: trpc.procedure
      .input(z.object({ workdir: z.string(), request_id: z.string(), registry: z.string(), file: z.string(), lines: z.array(z.string()) }))
      .output(z.object({ session_id: z.string(), token: z.string() }))
      .mutation(async ({ input }) => {
        await (prepared ??= Promise.all(["open", "sessions"].map((name) => mkdir(join(directory, name), { mode: 0o700 }))));
        const session_id = `ses_${String(journals.length).padStart(22, "0")}`;
        journals.push(await create(directory, session_id, input));
        return { session_id, token: `ssd_c_${session_id}` };
      }),
  });
};

interface Contents {
  readonly registry: string;
  readonly file: string;
  readonly lines: readonly string[];
}

async function create(directory: string, id: string, { registry, file, lines }: Contents): Promise<Log> {
  const folder = join(directory, "sessions", id);
  await replace(join(directory, "open", id), "");
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await syncDirectory(dirname(folder));
  const [epoch = "", begun = ""] = lines;
  const journal = await Log.open(join(folder, "journal"));
  await journal.append(epoch);
  await syncDirectory(folder);
  await replace(join(folder, "session.json"), file);
  await journal.append(begun);
  await replace(join(directory, "registry.json"), registry);
  return journal;
}

/** As the daemon's disk does it (disk.ts). */
async function replace(path: string, text: string): Promise<void> {
  const handle = await open(`${path}.new`, "wx", 0o600);
  await handle.writeFile(text);
  await handle.sync();
  await handle.close();
  await rename(`${path}.new`, path);
  await syncDirectory(dirname(path));
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  await handle.sync();
  await handle.close();
}

/** Lines of a file, each on disk when it is appended; one at a time. */
export class Log {
  readonly #file: FileHandle;
  #end = 0;
  #seq = 0;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  static async open(path: string): Promise<Log> {
    return new Log(await open(path, constants.O_RDWR | constants.O_CREAT, 0o600));
  }

  async append(text: string): Promise<number> {
    const line = Buffer.from(`${text}\n`);
    await this.#file.write(line, 0, line.length, this.#end);
    this.#end += line.length;
    await this.#file.datasync();
    return (this.#seq += 1);
  }
}

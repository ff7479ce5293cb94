import { createHash } from "node:crypto";
import { chmod, open, rename, unlink } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { nanoid } from "nanoid";
import type { ToolContext } from "./tool.ts";
import { ToolError } from "./tool.ts";

/**
 * How files are changed: looked at, shown as a difference, and replaced whole.
 * A reader never sees half a file, and nothing is replaced that is not what was shown.
 */
export interface CurrentFile {
  /** Real path. */
  readonly path: string;
  /** Null when there is none. */
  readonly text: string | null;
  readonly digest: string;
  readonly mode: number;
}

/**
 * The file as it is now.
 *
 * @throws ToolError when it may not be used, is too large, or is not text
 */
export async function currentFile(path: string, { paths, limits }: ToolContext): Promise<CurrentFile> {
  const real = await paths.resolve(path);
  const file = await paths.open(real).catch((error: unknown) => {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  });
  if (file === null) return { path: real, text: null, digest: "absent", mode: 0o644 };
  try {
    const facts = await file.stat();
    if (facts.size > limits.journal_line_bytes_max) throw new ToolError(`${path} is too large to change with this tool (${facts.size} bytes).`);
    const bytes = await file.readFile();
    const text = bytes.toString("utf8");
    if (!Buffer.from(text, "utf8").equals(bytes)) throw new ToolError(`${path} is not a UTF-8 text file; this tool would damage it.`);
    return { path: real, text, digest: createHash("sha256").update(bytes).digest("hex"), mode: facts.mode & 0o7777 };
  } finally {
    await file.close();
  }
}

/**
 * Replace the file whole, atomically, keeping its mode; directories are made as needed.
 *
 * @param file  as looked at just before, when it still was what had been shown
 */
export async function replaceFile(file: CurrentFile, text: string, { paths }: ToolContext): Promise<void> {
  // The one that is held, wherever its name leads by now.
  const dir = await paths.hold(dirname(file.path), 0o777);
  const temp = dir.at(`.sessiond-${nanoid()}.tmp`);
  try {
    const handle = await open(temp, "wx", 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await chmod(temp, file.text === null ? file.mode & ~process.umask() : file.mode);
    await rename(temp, dir.at(basename(file.path)));
  } catch (error) {
    await unlink(temp).catch(() => {});
    throw error;
  } finally {
    await dir.close();
  }
}

export const changedSinceShown = "The file changed since it was shown, so nothing was done. Read it again, then repeat the change.";

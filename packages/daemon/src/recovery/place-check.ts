import { access, chmod, constants, lstat, readdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import { isHostKey, limits, type Finding } from "@sessiond/shared";
import { diskReason } from "../disk.ts";
import { openPlace } from "../host/problems.ts";
import type { Examination, Trouble } from "./examination.ts";
import { sized } from "./finding.ts";

/** The directories and the host key's file: there, one's own, closed to others, writable, with room. */
export async function placeTroubles(examination: Examination): Promise<Trouble[]> {
  const { stateDir, runtimeDir } = examination;
  const holdsSessions = (await readdir(join(stateDir, "sessions")).catch(() => [])).length > 0;
  const parts = [
    directory(stateDir, "state", holdsSessions),
    directory(runtimeDir, "runtime", false),
    hostKey(examination, holdsSessions),
    room(stateDir, examination),
  ];
  return (await Promise.all(parts)).flat();
}

async function directory(path: string, name: string, needed: boolean): Promise<Trouble[]> {
  const found = await lstat(path).catch(() => null);
  // The first start makes it.
  if (found === null && !needed) return reachable(path, name);
  if (found?.isDirectory() === false)
    return [{ finding: wrong(path, `the ${name} directory ${path} is no directory of its own`, "move what is there away; the next start makes it") }];
  const troubles = await closed(path, "700");
  const reason = await access(path, constants.R_OK | constants.W_OK | constants.X_OK).then(() => null, diskReason);
  if (reason !== null)
    troubles.push({
      finding: wrong(
        path,
        `the ${name} directory ${path} cannot be written: ${reason}`,
        `give it back to this account, or mount its disk for writing; then chmod 700 ${path}`,
      ),
    });
  return troubles;
}

/** A directory that is to be made: its parent, or the parent of that, must let us. */
async function reachable(path: string, name: string): Promise<Trouble[]> {
  for (let parent = join(path, ".."); ; parent = join(parent, "..")) {
    const reason = await access(parent, constants.W_OK | constants.X_OK).then(
      () => null,
      (error: NodeJS.ErrnoException) => error,
    );
    if (reason === null) return [];
    if (reason.code !== "ENOENT" || parent === "/")
      return [
        {
          finding: wrong(
            path,
            `the ${name} directory ${path} cannot be made: ${diskReason(reason)}`,
            `make ${parent} writable for this account, or set XDG_${name.toUpperCase()}_${name === "state" ? "HOME" : "DIR"} to another place`,
          ),
        },
      ];
  }
}

/** One's own, and nobody else's. */
export async function closed(path: string, mode: "600" | "700"): Promise<Trouble[]> {
  const own = (await lstat(path).catch(() => null))?.uid === process.getuid?.();
  const repair = { beside: true, run: () => chmod(path, Number.parseInt(mode, 8)) };
  return (await openPlace(path, mode)).map(({ what, mend }) => ({ finding: wrong(path, what, mend), ...(own && { repair }) }));
}

async function hostKey({ stateDir, disk, running }: Examination, holdsSessions: boolean): Promise<Trouble[]> {
  const path = join(stateDir, "host-key");
  const found = await lstat(path).catch(() => null);
  if (found === null && (running !== null || holdsSessions))
    return [
      {
        finding: wrong(
          path,
          "the host key's file is gone",
          running === null
            ? "nothing to do: the next start makes a new key"
            : "end the daemon (`sessiond down` cannot: kill its pid) and start it again: it makes a new key",
        ),
      },
    ];
  if (found === null) return [];
  const text = await disk.readText(path).catch(() => null);
  if (text === null || !isHostKey(text.trim()))
    return [{ finding: wrong(path, "the host key's file is damaged: no daemon starts with it", `rm ${path}; the next start makes a new key`) }];
  return closed(path, "600");
}

async function room(stateDir: string, { tell }: Examination): Promise<Trouble[]> {
  const found = await statfs(stateDir).catch(() => null);
  if (found === null) return [];
  const free = found.bavail * found.bsize;
  tell({ type: "fact", name: "free", value: `${sized(free)} on the disk of ${stateDir}` });
  // Some file systems do not count inodes.
  if (found.files > 0 && found.ffree === 0)
    return [{ finding: { ...wrong(stateDir, "the disk has no inode left: no file can be made", "remove files there"), kind: "disk" } }];
  if (free >= limits.disk_free_bytes_min) return [];
  return [
    {
      finding: {
        ...wrong(stateDir, `only ${sized(free)} are free on its disk`, "make room: a session that cannot write its journal stands still until there is some"),
        kind: "disk",
      },
    },
  ];
}

const wrong = (path: string, what: string, mend: string): Finding => ({ kind: "place", weight: "wrong", path, what, mend });

import { constants, type Stats } from "node:fs";
import { access, lstat, readlink, realpath, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";

/**
 * Finds the programs that the daemon itself runs beside a command's shell. It never looks along a PATH:
 * that may lead through a working directory, and what lies there is a command's to write, which would
 * then be run outside of its sandbox, or in the place of one.
 */
export const systemProgramDirs = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/run/current-system/sw/bin"] as const;

/** @returns the first path of that name behind which there is a program that none but root can replace; null where there is none */
export async function systemProgram(name: string, dirs: readonly string[]): Promise<string | null> {
  for (const path of dirs.map((dir) => join(dir, name))) if (await isSystemProgram(path)) return path;
  return null;
}

export async function isSystemProgram(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile() && (await isOfRootAlone(path));
  } catch {
    // Not there, or nothing that this account may run.
    return false;
  }
}

const linksMax = 40;

/** The file, the links that lead to it, and all directories above each of them. */
async function isOfRootAlone(path: string, links = linksMax): Promise<boolean> {
  const facts = await lstat(path);
  const above = dirname(path);
  if (facts.uid !== 0 || isOpenToOthers(facts) || (above !== path && !(await isOfRootAlone(above, links)))) return false;
  return !facts.isSymbolicLink() || (links > 0 && isOfRootAlone(resolve(await realpath(above), await readlink(path)), links - 1));
}

/** In a sticky directory others cannot move away or replace what is root's. */
const isOpenToOthers = (facts: Stats): boolean =>
  !facts.isSymbolicLink() && (facts.mode & 0o022) !== 0 && !(facts.isDirectory() && (facts.mode & 0o1000) !== 0);

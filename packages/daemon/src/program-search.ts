import { constants } from "node:fs";
import { access, readdir, realpath, stat } from "node:fs/promises";
import { delimiter, dirname, isAbsolute, join, resolve, sep } from "node:path";
import { limits } from "@sessiond/shared";

/**
 * Where a program of the owner's is that was installed for terminals: editors and services have a
 * thin PATH, so the usual places of a home are looked into too. For agents alone: what the daemon
 * needs for itself it takes from the system (system-program.ts).
 */
export interface SearchPlaces {
  /** Values of PATH, the first counts first. */
  readonly paths: readonly (string | undefined)[];
  readonly home: string;
  /** What lies in there is a project's, and not found by its name: a checkout must not put a program in an agent's place. */
  readonly workdir?: string;
}

export interface FoundProgram {
  readonly path: string;
  /** It was found along a PATH. */
  readonly onPath: boolean;
}

/**
 * Never in the step of its caller: a PATH may lead to a disk that does not answer.
 *
 * @param command  a path, or a name to be looked for
 * @returns null where there is none that can be run
 */
export async function findProgram(command: string, places: SearchPlaces): Promise<FoundProgram | null> {
  if (isAbsolute(command)) return (await isProgram(command)) ? { path: command, onPath: true } : null;
  const named = places.paths.flatMap((path) => (path ?? "").split(delimiter)).filter((dir) => isAbsolute(dir));
  // One after the other: each place on a disk that does not answer would hold a thread that journals are written with, too.
  for (const [index, dir] of [...named, ...(await usualPlaces(places.home))].entries()) {
    const path = join(dir, command);
    if ((await isProgram(path)) && !(await isOfProject(dir, places.workdir))) return { path, onPath: index < named.length };
  }
  return null;
}

/** By a link, too. */
async function isOfProject(dir: string, workdir: string | undefined): Promise<boolean> {
  return workdir !== undefined && isIn(await realpath(dir).catch(() => resolve(dir)), workdir);
}

const isIn = (dir: string, workdir: string): boolean => dir === workdir || dir.startsWith(workdir + sep);

/** Where installers put what a person runs. */
async function usualPlaces(home: string): Promise<string[]> {
  const own = [".local/bin", "bin", ".npm-global/bin", ".npm/bin", ".bun/bin", ".deno/bin", ".cargo/bin", "go/bin", ".opencode/bin", ".volta/bin"];
  const shims = [".asdf/shims", ".local/share/mise/shims", ".local/share/pnpm", "Library/pnpm", ".yarn/bin", ".config/yarn/global/node_modules/.bin"];
  const ofMachine = ["/usr/local/bin", "/opt/homebrew/bin", "/snap/bin", "/usr/bin", "/bin"];
  return [
    ...[...own, ...shims].map((place) => join(home, place)),
    ...(await versions(join(home, ".nvm/versions/node"), "bin")),
    ...(await versions(join(home, ".local/share/fnm/node-versions"), "installation/bin")),
    // npm installs beside the Node that runs it.
    dirname(process.execPath),
    ...ofMachine,
  ];
}

/** Newest first. */
async function versions(directory: string, inside: string): Promise<string[]> {
  try {
    const names = (await readdir(directory)).toSorted((a, b) => b.localeCompare(a, "en", { numeric: true }));
    return names.slice(0, limits.agent_places_max).map((name) => join(directory, name, inside));
  } catch {
    return [];
  }
}

async function isProgram(path: string): Promise<boolean> {
  try {
    if (!(await stat(path)).isFile()) return false;
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

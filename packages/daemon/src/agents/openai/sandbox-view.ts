import { existsSync, lstatSync, readlinkSync, realpathSync } from "node:fs";
import { basename, delimiter, dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import type { Sandbox } from "@sessiond/shared";
import { HeldDirectory } from "./held-directory.ts";
import { isInside } from "./paths.ts";
import { ToolError } from "./tools/tool.ts";

/**
 * What a command in a sandbox sees, as words for bubblewrap. It begins with nothing, and is given
 * the working directory, the system read-only, the directories of programs on its PATH read-only,
 * and an empty home and /tmp of its own. What is not named here is not there: other homes, sockets
 * in /run and /tmp, other disks. The daemon's directories are not there whatever leads to them.
 *
 * What a command of another session may have written, and could exchange for a link meanwhile, is
 * judged once it is held open, and shown by its descriptor: the workdir, what is pinned in it, and
 * the directories of programs.
 */
export interface View {
  readonly workdir: HeldDirectory;
  readonly sandbox: Exclude<Sandbox, "off">;
  /** The command's. */
  readonly env: Readonly<Record<string, string>>;
  /** Shown empty. */
  readonly homes: readonly string[];
  /** The daemon's directories. */
  readonly forbidden: readonly string[];
  /** Keys that lie elsewhere: they cannot be read there. */
  readonly secretFiles: readonly string[];
}

export interface Viewed {
  readonly words: readonly string[];
  /** What the words name by number, from `firstDescriptor` on. */
  readonly descriptors: readonly number[];
  /** To be called once it is started. The workdir stays held. */
  release(): Promise<void>;
}

/** Behind standard input, output and errors, what is fed, what is reported, and the filter. */
const firstDescriptor = 6;

/** A directory of this machine, and where it is seen. */
interface Shown {
  readonly from: string;
  readonly to: string;
  /** Absent: a name that only the system's owner can change. */
  readonly held?: HeldDirectory;
}

const systemDirs = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/nix/store", "/gnu/store"];
const temporaryDirs = ["/tmp", "/var/tmp"];
/** Names of the owner's keys, which the kernel shows whoever runs as the owner. */
const kernelKeys = ["/proc/keys", "/proc/key-users"];

/** Without capabilities, and without user namespaces in which to get them, nothing of the view can be undone from inside. */
const fixed = [
  "--unshare-user",
  "--unshare-pid",
  "--unshare-ipc",
  "--unshare-uts",
  "--unshare-cgroup-try",
  "--cap-drop",
  "ALL",
  "--new-session",
  "--die-with-parent",
];

/** @throws ToolError when the directory cannot be worked in without showing what must not be seen */
export async function viewOf(view: View): Promise<Viewed> {
  const given = [view.workdir];
  const release = async (): Promise<void> => void (await Promise.all(given.slice(1).map((held) => held.close())));
  try {
    const words = await wordsOf(view, (held) => String(firstDescriptor + (given.includes(held) ? given.indexOf(held) : given.push(held) - 1)));
    return { words, descriptors: given.map(({ fd }) => fd), release };
  } catch (error) {
    await release();
    throw error;
  }
}

/** @param give  gives the command's holder what is held, which is closed with the rest. @returns its number there */
async function wordsOf({ workdir: held, sandbox, env, homes, forbidden: named, secretFiles }: View, give: (held: HeldDirectory) => string): Promise<string[]> {
  const workdir = held.path;
  const forbidden = [...new Set(named.map(real))];
  if (workdir === sep) throw new ToolError("A sandbox cannot have the root of the file system as its working directory.");
  if (forbidden.some((dir) => isInside(workdir, dir))) throw new ToolError("The working directory belongs to sessiond itself and cannot be used in a sandbox.");
  const system = systemDirs.filter(existsSync);
  const links = system.filter((dir) => lstatSync(dir).isSymbolicLink());
  const readable: Shown[] = system.filter((dir) => !links.includes(dir)).map((dir) => ({ from: dir, to: dir }));
  const isSeen = (path: string): boolean => isInside(path, workdir) || [...readable.map(({ to }) => to), ...links].some((dir) => isInside(path, dir));
  const beside = [...(await programDirs(env, { isSeen, give })), ...(sandbox === "network" ? resolverFile() : []).filter(({ to }) => !isSeen(to))];
  const shown = [...readable, ...beside].filter(({ from }) => !forbidden.some((dir) => isInside(from, dir)));
  const unseen = [...forbidden, ...homes.map(real)];
  const coveredIn = ({ from, to }: Shown): string[] => unseen.filter((dir) => dir !== from && isInside(dir, from)).map((dir) => join(to, relative(from, dir)));
  const covered = coveredIn({ from: workdir, to: workdir });
  const secrets = secretFiles.map(real).filter(existsSync);
  const secretsIn = ({ from, to }: Shown): string[] => {
    const hidden = unseen.filter((dir) => dir !== from && isInside(dir, from));
    return secrets.filter((file) => isInside(file, from) && !hidden.some((dir) => isInside(file, dir))).map((file) => join(to, relative(from, file)));
  };
  const files = secretsIn({ from: workdir, to: workdir });
  const bind = ({ from, to, held: source }: Shown): string[] => (source === undefined ? ["--ro-bind", from, to] : ["--ro-bind-fd", give(source), to]);
  return [
    ...fixed,
    ...(sandbox === "network" ? [] : ["--unshare-net"]),
    ...links.flatMap((dir) => ["--symlink", readlinkSync(dir), dir]),
    // Where the daemon's owner is root, nothing else keeps the kernel's settings from being written.
    ...["--proc", "/proc", ...kernelKeys.filter(existsSync).flatMap(shut), "--remount-ro", "/proc", "--dev", "/dev"],
    ...[...temporaryDirs, ...homes.filter((home) => home !== sep)].flatMap(empty),
    ...shown.flatMap(bind),
    ...shown.flatMap(coveredIn).filter(existsSync).flatMap(empty),
    ...shown.flatMap(secretsIn).flatMap(shut),
    ...["--bind-fd", give(held), workdir],
    ...(await pinned({ covered, files }, held, give)).flatMap((dir) => ["--bind-fd", give(dir), dir.path]),
    ...covered.flatMap(empty),
    ...files.flatMap(shut),
    ...["--remount-ro", "/", "--chdir", workdir],
  ];
}

const empty = (dir: string): string[] => ["--tmpfs", dir];
const shut = (file: string): string[] => ["--ro-bind", "/dev/null", file];

/** What of the working directory is not seen. */
interface Unseen {
  readonly covered: readonly string[];
  readonly files: readonly string[];
}

/** Directories above what is covered in the working directory: as mounts of their own they cannot be renamed, nor others put in their place. */
async function pinned({ covered, files }: Unseen, workdir: HeldDirectory, give: (held: HeldDirectory) => string): Promise<HeldDirectory[]> {
  const above = new Map<string, HeldDirectory>();
  for (const path of [...covered, ...files]) {
    let at = workdir;
    for (const part of relative(workdir.path, path).split(sep)) {
      if (at !== workdir) above.set(at.path, above.get(at.path) ?? at);
      if (files.includes(path) && at.path === dirname(path)) break;
      // What is not there yet could be made inside.
      at = await at.child(part, 0o700);
      give(at);
    }
  }
  return [...above.values()].toSorted((a, b) => a.path.length - b.path.length);
}

interface Beside {
  /** True for what is there already. */
  isSeen(path: string): boolean;
  give(held: HeldDirectory): string;
}

/** Those on the PATH, wherever they are, each with the libraries beside it, and the virtual environment's. Of a home nothing else is seen. */
async function programDirs({ PATH = "", VIRTUAL_ENV: virtual = "" }: Readonly<Record<string, string>>, { isSeen, give }: Beside): Promise<Shown[]> {
  const parts = PATH.split(delimiter).filter((part) => isAbsolute(part) && /^s?bin$/.test(basename(part)));
  const dirs = parts.map((part) => resolve(part)).flatMap((dir) => [dir, join(dirname(dir), "lib")]);
  const environment = isAbsolute(virtual) ? [resolve(virtual)] : [];
  const shown: Shown[] = [];
  for (const to of new Set([...dirs, ...environment])) {
    const held = isSeen(to) ? null : await HeldDirectory.open(real(to)).catch(() => null);
    if (held === null) continue;
    give(held);
    // What was put in the place of one, and leads elsewhere, does not show what is there.
    const isOne = dirs.includes(to) && /^(s?bin|lib)$/.test(basename(held.path));
    if (isOne || (environment.includes(to) && existsSync(held.at("pyvenv.cfg")))) shown.push({ from: held.path, to, held });
  }
  return shown;
}

/** Names of hosts are looked up by a file that often is a link into what is not seen. */
const resolverFile = (): Shown[] => (existsSync("/etc/resolv.conf") ? [realpathSync("/etc/resolv.conf")].map((path) => ({ from: path, to: path })) : []);

/** Of what is not there yet, that of the directory it would be in. */
function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return dirname(path) === path ? path : join(real(dirname(path)), basename(path));
  }
}

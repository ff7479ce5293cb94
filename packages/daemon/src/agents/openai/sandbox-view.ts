import { existsSync, lstatSync, mkdirSync, readlinkSync, realpathSync } from "node:fs";
import { basename, delimiter, dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import type { Sandbox } from "@sessiond/shared";
import { isInside } from "./paths.ts";
import { ToolError } from "./tools/tool.ts";

/**
 * What a command in a sandbox sees, as words for bubblewrap. It begins with nothing, and is given
 * the working directory, the system read-only, the directories of programs on its PATH read-only,
 * and an empty home and /tmp of its own. What is not named here is not there: other homes, sockets
 * in /run and /tmp, other disks. The daemon's directories are not there whatever leads to them.
 */
export interface View {
  /** Real path. */
  readonly workdir: string;
  readonly sandbox: Exclude<Sandbox, "off">;
  /** The command's. */
  readonly env: Readonly<Record<string, string>>;
  /** Shown empty. */
  readonly homes: readonly string[];
  /** The daemon's directories. */
  readonly forbidden: readonly string[];
}

/** A directory of this machine, and where it is seen. */
interface Shown {
  readonly from: string;
  readonly to: string;
}

const systemDirs = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/nix/store", "/gnu/store"];
const temporaryDirs = ["/tmp", "/var/tmp"];

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
export function viewWords({ workdir, sandbox, env, homes, forbidden: named }: View): string[] {
  const forbidden = [...new Set(named.map(real))];
  if (workdir === sep) throw new ToolError("A sandbox cannot have the root of the file system as its working directory.");
  if (forbidden.some((dir) => isInside(workdir, dir))) throw new ToolError("The working directory belongs to sessiond itself and cannot be used in a sandbox.");
  const system = systemDirs.filter(existsSync);
  const links = system.filter((dir) => lstatSync(dir).isSymbolicLink());
  const readable: Shown[] = system.filter((dir) => !links.includes(dir)).map((dir) => ({ from: dir, to: dir }));
  const isSeen = (path: string): boolean => isInside(path, workdir) || [...readable.map(({ to }) => to), ...links].some((dir) => isInside(path, dir));
  const beside = [...programDirs(env), ...(sandbox === "network" ? resolverFile() : [])].filter((path) => !isSeen(path));
  for (const to of beside) readable.push({ from: real(to), to });
  const shown = readable.filter(({ from }) => !forbidden.some((dir) => isInside(from, dir)));
  const unseen = [...forbidden, ...homes.map(real)];
  const coveredIn = ({ from, to }: Shown): string[] => unseen.filter((dir) => dir !== from && isInside(dir, from)).map((dir) => join(to, relative(from, dir)));
  const covered = coveredIn({ from: workdir, to: workdir });
  return [
    ...fixed,
    ...(sandbox === "network" ? [] : ["--unshare-net"]),
    ...links.flatMap((dir) => ["--symlink", readlinkSync(dir), dir]),
    // Where the daemon's owner is root, nothing else keeps the kernel's settings from being written.
    ...["--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev"],
    ...[...temporaryDirs, ...homes.filter((home) => home !== sep)].flatMap(empty),
    ...shown.flatMap(({ from, to }) => ["--ro-bind", from, to]),
    ...shown.flatMap(coveredIn).filter(existsSync).flatMap(empty),
    ...["--bind", workdir, workdir],
    ...pinned(covered, workdir).flatMap((dir) => ["--bind", dir, dir]),
    ...covered.flatMap(empty),
    ...["--remount-ro", "/", "--chdir", workdir],
  ];
}

const empty = (dir: string): string[] => ["--tmpfs", dir];

/** Directories above what is covered in the working directory: as mounts of their own they cannot be renamed, nor others put in their place. */
function pinned(covered: readonly string[], workdir: string): string[] {
  // What is not there yet could be made inside.
  for (const dir of covered) mkdirSync(dir, { recursive: true, mode: 0o700 });
  const above = covered.flatMap((dir) => ancestors(dir).filter((each) => each !== workdir && isInside(each, workdir)));
  return [...new Set(above)].toSorted((a, b) => a.length - b.length);
}

const ancestors = (path: string): string[] => (dirname(path) === path ? [] : [dirname(path), ...ancestors(dirname(path))]);

/** Those on the PATH, wherever they are, each with the libraries beside it, and the virtual environment's. Of a home nothing else is seen. */
function programDirs({ PATH = "", VIRTUAL_ENV: virtual = "" }: Readonly<Record<string, string>>): string[] {
  const parts = PATH.split(delimiter).filter((part) => isAbsolute(part) && /^s?bin$/.test(basename(part)));
  const dirs = parts.map((part) => resolve(part)).flatMap((dir) => [dir, join(dirname(dir), "lib")]);
  const isEnvironment = isAbsolute(virtual) && existsSync(join(virtual, "pyvenv.cfg"));
  // What was put in the place of one, and leads elsewhere, does not show what is there.
  const isOne = (dir: string): boolean => existsSync(dir) && /^(s?bin|lib)$/.test(basename(real(dir)));
  return [...new Set([...dirs.filter(isOne), ...(isEnvironment ? [resolve(virtual)] : [])])];
}

/** Names of hosts are looked up by a file that often is a link into what is not seen. */
const resolverFile = (): string[] => (existsSync("/etc/resolv.conf") ? [realpathSync("/etc/resolv.conf")] : []);

/** Of what is not there yet, that of the directory it would be in. */
function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return dirname(path) === path ? path : join(real(dirname(path)), basename(path));
  }
}

import { constants } from "node:fs";
import { access, realpath, stat } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, resolve, sep } from "node:path";
import { limits, SessiondError } from "@sessiond/shared";
import { isErrno } from "../disk.ts";
import type { Reach } from "./reach.ts";

/** Which directories may hold a session; a session is keyed by the real path, so that every name of one directory is one session. */
export interface WorkdirRules {
  readonly home: string;
  /** State, runtime and configuration directory. */
  readonly own: readonly string[];
  /** When not empty: only directories within one of these. */
  readonly roots: readonly string[];
  /** Lifts the refusal of `/` and the home directory. */
  readonly allowBroad: boolean;
}

/** True when `path` is `directory` or lies within it. Both absolute and normal. */
export const isWithin = (path: string, directory: string): boolean =>
  path === directory || path.startsWith(directory.endsWith(sep) ? directory : directory + sep);

/** Whether something lies outside its roots is not told to the holder of a key, so this is said of all that is not within. */
const outsideKey = "there is no such directory within the roots of this key";

const invalid = (reason: string): SessiondError => new SessiondError("workdir_invalid", { reason });

/**
 * @returns the real path
 * @throws SessiondError workdir_invalid with the reason
 */
export async function resolveWorkdir(path: string, rules: WorkdirRules, reach: Pick<Reach, "roots">): Promise<string> {
  if (!isAbsolute(path)) throw invalid("it must be an absolute path");
  if (path.includes("\0") || Buffer.byteLength(path) > limits.workdir_bytes_max) throw invalid("it is not a path");
  // Each look is a step of the thread pool: those that do not need one another are taken side by side, and judged in their order.
  const resolving = realWithin(path, reach);
  const looked = Promise.all([existing(rules.home), Promise.all(rules.own.map(existing)), Promise.all(rules.roots.map(existing))]);
  // Whichever fails first is told, and neither is left without somebody who hears of it.
  looked.catch(() => undefined);
  const real = await resolving;
  const [isOne, isReadable] = await Promise.all([isDirectory(real), canBeRead(real)]);
  const [home, own, roots] = await looked;
  if (!isOne) throw invalid("it is a file, not a directory");
  if (!isReadable) throw invalid("it cannot be read by this account");
  if (!rules.allowBroad && real === "/") throw invalid("the root of the file system is too broad");
  if (!rules.allowBroad && real === home) throw invalid("the home directory itself is too broad; use a project's directory");
  if (own.some((each) => isWithin(real, each))) throw invalid("it belongs to sessiond itself");
  if (roots.length > 0 && !roots.some((root) => isWithin(real, root))) throw invalid("it lies outside the configured roots");
  return real;
}

/** A directory that an API key is bound to, by who may do so within `reach`. @returns the real path @throws SessiondError workdir_invalid */
export async function resolveRoot(path: string, reach: Pick<Reach, "roots">): Promise<string> {
  if (!isAbsolute(path) || path.includes("\0")) throw invalid("a root must be an absolute path");
  const real = await realWithin(path, reach);
  if (!(await isDirectory(real))) throw invalid("a root must be a directory");
  return real;
}

/** By its name first, without looking: a link, or `..`, may lead out of a key's roots, which are real paths. */
async function realWithin(path: string, { roots }: Pick<Reach, "roots">): Promise<string> {
  if (roots === null) return realOf(path);
  const named = resolve(path);
  const isInside = (each: string | null): boolean => each !== null && roots.some((root) => isWithin(each, root));
  const real = isInside(named) ? await realpath(named).catch(() => null) : null;
  if (real === null || !isInside(real)) throw invalid(outsideKey);
  return real;
}

const realOf = (path: string): Promise<string> => found(() => realpath(path));

/** It may have gone since its path was resolved. */
const isDirectory = async (real: string): Promise<boolean> => (await found(() => stat(real))).isDirectory();

const canBeRead = (real: string): Promise<boolean> =>
  access(real, constants.R_OK | constants.X_OK).then(
    () => true,
    () => false,
  );

async function found<Found>(look: () => Promise<Found>): Promise<Found> {
  try {
    return await look();
  } catch (error) {
    if (isErrno(error, "ENOENT")) throw invalid("it does not exist");
    if (isErrno(error, "ENOTDIR")) throw invalid("part of the path is a file");
    if (isErrno(error, "EACCES")) throw invalid("it cannot be read by this account");
    if (isErrno(error, "ELOOP")) throw invalid("its links go in a circle");
    if (isErrno(error, "ENAMETOOLONG")) throw invalid("the path is too long");
    throw error;
  }
}

/**
 * The path under which a directory's sessions are kept, whether or not it is there still: real as
 * far as there is something, and then as it is written. Nothing is checked.
 */
export async function workdirKey(path: string): Promise<string> {
  if (!isAbsolute(path) || path.includes("\0")) return path;
  const real = await realpath(path).catch(() => null);
  if (real !== null) return real;
  const whole = resolve(path);
  return whole === "/" ? whole : join(await workdirKey(dirname(whole)), basename(whole));
}

/** The real path where there is one; a rule about a missing directory still counts by its name. */
const existing = (path: string): Promise<string> => realpath(path).catch(() => resolve(path));

import { realpathSync } from "node:fs";
import { delimiter, sep } from "node:path";

/**
 * The environment of tools and of agents: what the daemon was given for them, without anything that names a
 * secret and without any value that leads into the daemon's own directories.
 */
const secretName = /KEY|TOKEN|SECRET|PASSW|CREDENTIAL|^SESSIOND_/i;

/**
 * @param forbiddenDirs  the daemon's directories
 * @returns a copy; of PATH only the offending parts are taken out, of others the whole variable
 */
export const childEnvironment = (env: Readonly<Record<string, string>>, forbiddenDirs: readonly string[]): Record<string, string> =>
  withoutPlaces(Object.fromEntries(Object.entries(env).filter(([name]) => !secretName.test(name))), forbiddenDirs);

/** The same for what somebody gave on purpose: it may hold keys. */
export function withoutPlaces(env: Readonly<Record<string, string>>, forbiddenDirs: readonly string[]): Record<string, string> {
  const dirs = forbiddenDirs.flatMap((dir) => [dir, real(dir)]);
  const leadsThere = (text: string): boolean => dirs.some((dir) => names(text, dir) || (text.startsWith("/") && isInside(real(text), dir)));
  const kept = Object.entries(env).flatMap(([name, value]): [string, string][] => {
    const parts = value.split(delimiter);
    if (name === "PATH") return [[name, parts.filter((part) => !leadsThere(part)).join(delimiter)]];
    return leadsThere(value) || parts.some(leadsThere) ? [] : [[name, value]];
  });
  return Object.fromEntries(kept);
}

const isInside = (path: string, dir: string): boolean => path === dir || path.startsWith(dir + sep);

/** True when the directory, or something in it, is named anywhere in the text: also in `unix:path=/run/…`. */
function names(text: string, dir: string): boolean {
  for (let at = text.indexOf(dir); at >= 0; at = text.indexOf(dir, at + 1)) {
    const next = text[at + dir.length];
    if (next === undefined || !/[\w.-]/.test(next)) return true;
  }
  return false;
}

function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

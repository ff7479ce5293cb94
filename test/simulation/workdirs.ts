import promises from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";

/**
 * The directories of the simulated machine. The daemon asks node's own functions about them; for
 * paths below `/sim` those answer at once and always the same, and no real file is looked at.
 */
const links: Readonly<Record<string, string>> = { "/sim/link": "/sim/one" };
export const workdirs = ["/sim/one", "/sim/two", "/sim/three"] as const;
/** Another name of the first. */
export const linkedWorkdir = "/sim/link";

export function answerForWorkdirs(): () => void {
  const real = { realpath: promises.realpath, stat: promises.stat, lstat: promises.lstat, access: promises.access };
  const simulated = (path: unknown): path is string => typeof path === "string" && path.startsWith("/sim");
  const found = { isDirectory: () => true, isFile: () => true, uid: process.getuid?.() ?? 0, mode: 0o600 };
  const over = <F>(original: F, answer: (path: string) => unknown): F =>
    ((path: unknown, ...rest: unknown[]) =>
      simulated(path) ? Promise.resolve(answer(path)) : (original as (...all: unknown[]) => unknown)(path, ...rest)) as F;
  Object.assign(promises, {
    realpath: over(real.realpath, (path) => links[path] ?? path),
    stat: over(real.stat, () => found),
    lstat: over(real.lstat, () => found),
    access: over(real.access, () => undefined),
  });
  syncBuiltinESMExports();
  return () => {
    Object.assign(promises, real);
    syncBuiltinESMExports();
  };
}

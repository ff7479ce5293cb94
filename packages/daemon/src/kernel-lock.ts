import { createRequire } from "node:module";
import { isErrno } from "./disk.ts";

/** An exclusive lock of the open file, held until it is closed or the process ends. False when another holds it. */
type TryLock = (fd: number) => boolean;

/** The addon itself, which says no by an error. */
interface Addon {
  tryLock(fd: number, offset: number, length: number, exclusive: boolean): void;
}

/**
 * The kernel's lock of a file, from `fs-native-extensions`. Its prebuilt addon is taken by its path: the package finds it by
 * a general resolver, which costs each start more than all else that is done for the lock. Where it does not lie there, the
 * package looks for it.
 */
export function kernelLock(): TryLock {
  const load = createRequire(import.meta.url);
  const { platform, arch } = process;
  let addon: Addon;
  try {
    addon = load(`fs-native-extensions/prebuilds/${platform}-${arch}/fs-native-extensions.node`) as Addon;
  } catch {
    return (load("fs-native-extensions") as { tryLock: TryLock }).tryLock;
  }
  return (fd) => {
    try {
      addon.tryLock(fd, 0, 0, true);
      return true;
    } catch (error) {
      if (isErrno(error, "EAGAIN")) return false;
      throw error;
    }
  };
}

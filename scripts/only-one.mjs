// One process at a time may install or build: two `npm test` started together must not
// overwrite each other's half-written files.
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

const waitMs = 600_000;

const read = (path) => {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
};

const alive = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
};

/** Runs `work` while no other process holds the lock of this tree; waits for its turn. */
export async function onlyOne(root, work) {
  // In .tmp, not in node_modules: `npm ci` empties that.
  const dir = join(root, ".tmp");
  const lock = join(dir, "set-up.lock");
  const mine = join(dir, `set-up.${process.pid}`);
  mkdirSync(dir, { recursive: true });
  writeFileSync(mine, String(process.pid));
  try {
    const until = Date.now() + waitMs;
    // `link` is atomic and brings the content along: a lock is never seen without its owner.
    while (!tryLink(mine, lock)) {
      const owner = read(lock);
      if (owner !== null && !alive(Number(owner))) breakLock(lock, owner, join(dir, `set-up.stale.${process.pid}`));
      else if (Date.now() > until) throw new Error(`set-up: process ${owner} has held ${lock} for ten minutes; end it, or remove the file`);
      else await pause(100);
    }
    try {
      return await work();
    } finally {
      if (read(lock) === String(process.pid)) rmSync(lock, { force: true });
    }
  } finally {
    rmSync(mine, { force: true });
  }
}

function tryLink(from, to) {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  }
}

/** Takes a dead owner's lock away; puts it back if it was another's by then. */
function breakLock(lock, owner, aside) {
  try {
    renameSync(lock, aside);
  } catch {
    return;
  }
  if (read(aside) !== owner) tryLink(aside, lock);
  rmSync(aside, { force: true });
}

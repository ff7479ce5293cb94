import { closeSync, openSync, readFileSync, writeSync } from "node:fs";

/**
 * What a process was started with stands in its memory as long as it lives, and /proc shows that to every
 * process of the account, to tools too, whatever was deleted from `process.env`. Here it is overwritten, where
 * the system lets a process write its own memory, as Linux does; elsewhere it stays.
 *
 * @param keeps  names that may stay; nobody may hold another one's value any more
 * @returns whether it was done
 */
export function wipeFirstEnvironment(keeps: (name: string) => boolean): boolean {
  try {
    const environ = readFileSync("/proc/self/environ");
    const start = startOfEnvironment();
    const memory = openSync("/proc/self/mem", "r+");
    try {
      for (let from = 0; from < environ.length;) {
        const end = environ.indexOf(0, from);
        const to = end < 0 ? environ.length : end;
        const [name = ""] = environ.toString("latin1", from, to).split("=", 1);
        if (!keeps(name)) writeSync(memory, Buffer.alloc(to - from), 0, to - from, start + from);
        from = to + 1;
      }
    } finally {
      closeSync(memory);
    }
    return true;
  } catch {
    return false;
  }
}

/** Its address. In /proc/self/stat it is field 50; the second one, the program's name in brackets, may hold blanks. */
function startOfEnvironment(): number {
  const stat = readFileSync("/proc/self/stat", "latin1");
  const address = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[47]);
  if (!Number.isSafeInteger(address) || address === 0) throw new Error("the system does not tell where the environment stands");
  return address;
}

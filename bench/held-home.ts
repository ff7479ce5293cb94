import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Host } from "@sessiond/client";
import type { LimitName } from "@sessiond/shared";
import { CountedHome } from "./counted-home.ts";
import { eventually } from "../test/support/eventually.ts";

/**
 * A home whose daemon says what it holds: heap and buffers in bytes, when all that can be collected is. What measures is
 * preloaded into the daemon and nowhere else.
 */
const collecting = resolve(import.meta.dirname, "collecting.mjs");

/** @param into  path of the files that a process started with this writes its figures to, `-1`, `-2`, …, each time that it is asked */
export const measuredBy = (into: string): { NODE_OPTIONS: string; MEASURE_INTO: string } => ({ NODE_OPTIONS: `--import=${collecting}`, MEASURE_INTO: into });

/**
 * Compiled code comes and goes by a megabyte, whatever there is of sessions. So none is optimised, and none thrown away:
 * what is left of the noise is kilobytes.
 */
const steadyCode = `import v8 from "node:v8"; for (const flag of ["--no-flush-bytecode", "--no-opt", "--no-sparkplug"]) v8.setFlagsFromString(flag);`;

export class HeldHome extends CountedHome {
  #pid = 0;
  #asked = 0;

  /** @param model  lines of the configuration */
  constructor(model: string, times: Partial<Record<LimitName, number>> = {}) {
    const lines = Object.entries(times).map(([name, ms]) => `${name} = ${ms}\n`);
    super(`[model]\n${model}\n[limits]\n${lines.join("")}`);
  }

  override async begin(): Promise<Host> {
    const own = { ...this.env };
    const measured = measuredBy(join(this.root, "measured"));
    Object.assign(this.env, measured, { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(steadyCode)} ${measured.NODE_OPTIONS}` });
    this.#pid = (await this.startByHand()).pid ?? 0;
    // What preloads the daemon is not for its clients.
    for (const name of Object.keys(this.env)) if (own[name] === undefined) delete this.env[name];
    return this.connect({ autoStart: false });
  }

  directory(name: string): string {
    const path = join(this.root, "work", name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** Bytes, when they stand still: goodbyes are said, files let go of, segments compacted. What compaction holds meanwhile is there for moments, and never the same. */
  async held(): Promise<number> {
    await this.atRest();
    return standing(this.#pid, () => join(this.root, `measured-${++this.#asked}`));
  }
}

/** Two measurements that differ by less are the same. */
const noise = 20_000;

/** @param next  where its next figures will be */
async function standing(pid: number, next: () => string): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let tries = 0; tries < 20; tries++) {
    const { held } = await measured(pid, next());
    if (Math.abs(held - least) < noise) return Math.min(held, least);
    least = Math.min(held, least);
  }
  return least;
}

/** After a forced collection, in bytes. */
export interface Measured {
  /** Heap and buffers. */
  readonly held: number;
  /** What the system counts. */
  readonly resident: number;
}

/** @param file  where it writes its figures this time */
export async function measured(pid: number, file: string): Promise<Measured> {
  process.kill(pid, "SIGUSR2");
  await eventually("the daemon has measured itself", () => existsSync(file), 60_000);
  const { heap, buffers, resident } = JSON.parse(readFileSync(file, "utf8")) as { heap: number; buffers: number; resident: number };
  return { held: heap + buffers, resident };
}

import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Host } from "@sessiond/client";
import { measure, type Figures } from "../fixtures/measured.mjs";
import { DaemonHome } from "./daemon-home.ts";
import { eventually } from "./eventually.ts";

/**
 * A home whose daemon tells, when asked by a signal, what it holds; beside it the test's own process, which
 * holds the clients. Idle sessions go to rest after a second, so that there is a moment when nothing is open.
 */
export interface Held {
  readonly daemon: Figures;
  readonly clients: Figures;
}

export class MeasuredHome extends DaemonHome {
  #asked = 0;
  #pid = 0;

  constructor() {
    super('[model]\nname = "practice"\n[limits]\nrest_after_ms = 1000\nseat_grace_ms = 300\n');
    this.env["NODE_OPTIONS"] = `--import=${resolve(import.meta.dirname, "../fixtures/measured.mjs")}`;
    this.env["MEASURE_INTO"] = join(this.root, "measured");
  }

  async begin(): Promise<Host> {
    this.#pid = (await this.startByHand()).pid ?? 0;
    return this.connect({ autoStart: false });
  }

  directory(name: string | number): string {
    const path = join(this.root, "work", String(name));
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** What daemon and clients hold when that stands still: goodbyes are said, files let go of, graces over. */
  async held(): Promise<Held> {
    const [daemon, clients] = await Promise.all([still(() => this.#measured()), still(measure)]);
    return { daemon, clients };
  }

  /** What the daemon has open when every session has gone to rest or is stopped. */
  async openAtRest(host: Host): Promise<string[]> {
    await eventually("no session is live", async () => (await host.status()).sessions.live === 0, 60_000);
    let before: string[] = [];
    await eventually(
      "what is open stands still, and no session's file is",
      () => {
        const now = this.open();
        const stands =
          now.join() === before.join() &&
          !now.some((path) => path.startsWith(join(this.stateDir, "sessions"))) &&
          readdirSync(join(this.stateDir, "open")).length === 0;
        before = now;
        return stands;
      },
      60_000,
    );
    return before;
  }

  /** The daemon's descriptors, by what they lead to. */
  open(): string[] {
    const directory = `/proc/${this.#pid}/fd`;
    const targets = readdirSync(directory).map((name) => target(join(directory, name)));
    return targets.filter((path) => path !== null).toSorted();
  }

  async #measured(): Promise<Figures> {
    const file = join(this.root, `measured-${++this.#asked}`);
    process.kill(this.#pid, "SIGUSR2");
    await eventually("the daemon has measured itself", () => existsSync(file), 60_000);
    return JSON.parse(readFileSync(file, "utf8")) as Figures;
  }
}

/** `socket:[123]` is `socket`: which one does not matter. */
function target(link: string): string | null {
  try {
    return readlinkSync(link).replace(/:\[\d+\]$/, "");
  } catch {
    return null;
  }
}

/** The first of two measurements in a row that agree, or the last of many: what is wrong then, the test says. */
async function still(take: () => Promise<Figures>): Promise<Figures> {
  let before = await take();
  for (let tries = 0; tries < 20; tries++) {
    const now = await take();
    if (now.descriptors === before.descriptors && now.timers === before.timers && Math.abs(now.objects - before.objects) <= 10) return now;
    before = now;
  }
  return before;
}

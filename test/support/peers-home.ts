import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Host } from "@sessiond/client";
import type { LimitName } from "@sessiond/shared";
import type { Figures } from "../fixtures/measured.mjs";
import { DaemonHome } from "./daemon-home.ts";
import { eventually } from "./eventually.ts";

/** A home for sick peers: a real daemon whose times are the test's, and what it holds and has counted, as seen from outside. */
export class PeersHome extends DaemonHome {
  pid = 0;
  #asked = 0;
  #host: Host | null = null;

  /**
   * @param times  of the daemon's limits, in ms; the others are as they are
   * @param model  lines of the configuration; the practice model unless given
   */
  constructor(times: Partial<Record<LimitName, number>>, model = 'name = "practice"') {
    const lines = Object.entries(times).map(([name, ms]) => `${name} = ${ms}\n`);
    super(`[model]\n${model}\n[limits]\n${lines.join("")}`);
  }

  async begin(): Promise<Host> {
    this.pid = (await this.startMeasured()).pid ?? 0;
    this.#host = await this.connect({ autoStart: false });
    return this.#host;
  }

  directory(name: string): string {
    const path = join(this.root, "work", name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** Heap and buffers of the daemon in bytes, when what can be collected is. */
  async memory(): Promise<number> {
    const file = join(this.root, `measured-${++this.#asked}`);
    process.kill(this.pid, "SIGUSR2");
    await eventually("the daemon has measured itself", () => existsSync(file), 60_000);
    const { heap, buffers } = JSON.parse(readFileSync(file, "utf8")) as Figures;
    return heap + buffers;
  }

  /** A figure of the daemon's own page; one with labels is the sum, unless they are named. */
  async metric(name: string): Promise<number> {
    const page = (await this.#host?.metrics({ timeoutMs: 60_000 })) ?? "";
    const lines = page.split("\n").filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
  }

  get descriptors(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }
}

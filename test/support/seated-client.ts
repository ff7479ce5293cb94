import { spawn, type ChildProcess } from "node:child_process";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import type { DaemonHome } from "./daemon-home.ts";
import { eventually } from "./eventually.ts";
import { stateOf } from "./processes.ts";

/** A client with a seat in a process of its own, and what it has told so far; see test/fixtures/seated-client.mjs. */
interface Told {
  readonly live?: boolean;
  readonly seat?: string;
  readonly role?: string;
  readonly ended?: string | null;
  readonly seq?: number;
  readonly accepted?: number;
  readonly wrong?: string;
}

const fixture = resolve(import.meta.dirname, "../fixtures/seated-client.mjs");

export class SeatedClient {
  readonly told: Told[] = [];
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
    if (child.stdout !== null) createInterface({ input: child.stdout }).on("line", (line) => this.told.push(JSON.parse(line) as Told));
  }

  /** Resolves when it sits. */
  static async sit(home: DaemonHome, sessionId: string, role: "driver" | "viewer"): Promise<SeatedClient> {
    const client = new SeatedClient(spawn(process.execPath, [fixture, sessionId, role], { env: home.env, stdio: ["pipe", "pipe", "inherit"] }));
    await client.has("it sits", ({ live }) => live === true);
    return client;
  }

  /** Where its connection stands, as far as it has told. */
  get connection(): Told {
    return this.told.findLast(({ live }) => live !== undefined) ?? {};
  }

  get lastSeq(): number {
    return this.told.findLast(({ seq }) => seq !== undefined)?.seq ?? 0;
  }

  get wrong(): Told[] {
    return this.told.filter(({ wrong }) => wrong !== undefined);
  }

  /** Resolves when it has told such a thing. @param from  of what was told from then on: `told.length` */
  has(what: string, matches: (told: Told) => boolean, from = 0): Promise<Told> {
    return eventually(what, () => {
      if (this.#child.exitCode !== null) throw new Error(`the client's process ended with ${this.#child.exitCode}`);
      return this.told.slice(from).find(matches);
    });
  }

  prompt(text: string): void {
    this.#child.stdin?.write(`${text}\n`);
  }

  /** SIGSTOP; resolves when the system has stopped it. */
  suspend(): Promise<void> {
    return suspended(this.#child.pid ?? 0);
  }

  goOn(): void {
    this.#child.kill("SIGCONT");
  }

  end(): void {
    this.#child.kill("SIGKILL");
  }
}

/** Stop a process; resolves when all of it stands still. */
export async function suspended(pid: number): Promise<void> {
  process.kill(pid, "SIGSTOP");
  await eventually(`process ${pid} stands still`, () => stateOf(pid) === "T");
}

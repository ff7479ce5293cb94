import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { createInterface } from "node:readline";

/** Seats of the real client library in a process of their own, so that they can be suspended with all that they are. */
export interface SeatReport {
  readonly label: string;
  /** Seq of the newest event that its reader was given. */
  readonly last: number;
  readonly frames: number;
  readonly snapshots: number;
  /** Pairs of seqs that did not follow each other. */
  readonly gaps: readonly (readonly [number, number])[];
  /** How often its link was lost. */
  readonly losses: number;
  readonly connection: string;
  readonly role: string;
}

const fixture = resolve(import.meta.dirname, "../fixtures/seats-process.mjs");

export class SeatsProcess {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #asked = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    if (child.stdout === null) throw new Error("no pipe");
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** Resolves when all are seated. */
  static async begin(
    env: Record<string, string>,
    token: string,
    seats: readonly { readonly label: string; readonly as: "driver" | "viewer" }[],
  ): Promise<SeatsProcess> {
    const each = new SeatsProcess(spawn(process.execPath, [fixture], { env, stdio: ["pipe", "pipe", "inherit"] }));
    each.#say({ token, seats });
    await each.#next();
    return each;
  }

  suspend(): void {
    this.#child.kill("SIGSTOP");
  }

  wake(): void {
    this.#child.kill("SIGCONT");
  }

  async report(): Promise<SeatReport[]> {
    this.#say({ ask: ++this.#asked });
    return ((await this.#next()) as { seats: SeatReport[] }).seats;
  }

  /** As a process that is killed. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await gone;
  }

  #say(line: object): void {
    this.#child.stdin?.write(`${JSON.stringify(line)}\n`);
  }

  async #next(): Promise<unknown> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(`the process of seats ended with ${this.#child.exitCode ?? this.#child.signalCode}`);
    return JSON.parse(value);
  }
}

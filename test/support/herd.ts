import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { daemonFile, type DaemonHome } from "./daemon-home.ts";

/**
 * Many clients, each a process of its own that is loaded once and lives through many rounds: what a
 * round measures is the race between them, not the start of Node. All are let go in one step.
 */
const fixtures = resolve(import.meta.dirname, "../fixtures");

/** What one client got. */
export interface Served {
  readonly boot_id: string;
  readonly session_id: string;
  readonly created: boolean;
  readonly workdir: string;
  /** How often a daemon that was told to go refused it. */
  readonly refused: number;
  readonly ms: number;
  readonly failed?: string;
  readonly message?: string;
}

interface Member {
  readonly child: ChildProcess;
  heard: (line: string) => void;
  /** The next line that begins so. */
  line(begins: string): Promise<string>;
}

export class Herd {
  readonly #members: Member[];

  private constructor(members: Member[]) {
    this.#members = members;
  }

  static async open(size: number): Promise<Herd> {
    const herd = new Herd(Array.from({ length: size }, () => member()));
    await Promise.all(herd.#members.map(({ line }) => line("ready")));
    return herd;
  }

  get size(): number {
    return this.#members.length;
  }

  /**
   * Tells every client what the next round is about.
   *
   * @param workdirs  one is taken by each in turn
   * @param close     each leaves again when it was served
   */
  async arm(home: DaemonHome, workdirs: readonly string[], { close = false } = {}): Promise<void> {
    const env = countedIn(home);
    await this.#all((each, index) => {
      const workdir = workdirs[index % workdirs.length];
      each.child.stdin?.write(`${JSON.stringify({ env, bin: daemonFile, workdir, close })}\n`);
      return each.line("armed");
    });
  }

  /**
   * Lets all go in one step.
   *
   * @param heard  told each line as it comes: `refused`, or what one was served
   * @returns what each got
   */
  async go(heard: (line: string) => void = () => undefined): Promise<Served[]> {
    return this.#all(async (each) => {
      each.heard = heard;
      each.child.stdin?.write("go\n");
      return JSON.parse(await each.line("{")) as Served;
    });
  }

  async leave(): Promise<void> {
    await this.#all((each) => {
      each.child.stdin?.write("leave\n");
      return each.line("left");
    });
  }

  async close(): Promise<void> {
    await this.#all(
      ({ child }) =>
        new Promise<void>((gone) => {
          if (child.exitCode !== null || child.signalCode !== null) return gone();
          child.once("exit", () => gone());
          child.kill("SIGKILL");
        }),
    );
  }

  #all<T>(work: (each: Member, index: number) => Promise<T>): Promise<T[]> {
    return Promise.all(this.#members.map(work));
  }
}

function member(): Member {
  const child = spawn(process.execPath, [join(fixtures, "herd-client.mjs")], { stdio: ["pipe", "pipe", "inherit"] });
  let waiting: { begins: string; tell: (line: string) => void; fail: (error: Error) => void } | null = null;
  const self: Member = { child, heard: () => undefined, line: (begins) => new Promise((tell, fail) => (waiting = { begins, tell, fail })) };
  createInterface({ input: child.stdout }).on("line", (line) => {
    self.heard(line);
    if (waiting?.begins !== undefined && line.startsWith(waiting.begins)) waiting.tell(line);
  });
  child.stdin.on("error", () => undefined);
  child.once("exit", (code, signal) => waiting?.fail(new Error(`a client of the herd ended with ${code ?? signal}`)));
  return self;
}

const startsFile = (home: DaemonHome): string => join(home.root, "starts");

/** What a daemon of this home is started with, so that its start is counted from outside. */
const countedIn = (home: DaemonHome): Record<string, string> => ({
  ...home.env,
  STARTS_NOTED: startsFile(home),
  NODE_OPTIONS: `--import ${join(fixtures, "noted-start.mjs")}`,
});

/** Processes of a daemon that clients of a herd have ever begun in this home, the losers included, in their order. */
export function startsOf(home: DaemonHome): number[] {
  return existsSync(startsFile(home)) ? readFileSync(startsFile(home), "utf8").split("\n").slice(0, -1).map(Number) : [];
}

/** Connections to the home's socket as the kernel counts them, those included that nobody has taken. */
export function connectionsAt({ runtimeDir }: DaemonHome): number {
  // The socket's own name is the one under which it was bound.
  return readFileSync("/proc/net/unix", "utf8")
    .split("\n")
    .filter((line) => line.endsWith(` ${join(runtimeDir, ".new")}`)).length;
}

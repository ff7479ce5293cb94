/**
 * The built `sessiond` command as real processes, in a house of its own: each test file gets its
 * directories, its daemon, and everything that was ever printed.
 */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { connect, type Host } from "@sessiond/client/node";

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** One that still runs. */
export interface Running {
  readonly pid: number;
  readonly done: Promise<Outcome>;
  signal(signal: NodeJS.Signals): void;
  /** Resolves when its output (both streams together) contains the text. */
  said(text: string): Promise<void>;
}

const bin = resolve(import.meta.dirname, "../../packages/cli/dist/sessiond.js");

export class CommandHouse {
  readonly root = mkdtempSync(join(tmpdir(), "ssd-cli-"));
  readonly env: Record<string, string>;
  /** Arguments and output of every command that has ended. */
  readonly printed: (Outcome & { readonly args: readonly string[] })[] = [];
  readonly #hosts: Host[] = [];
  readonly #running = new Set<number>();

  constructor() {
    this.env = {
      PATH: process.env["PATH"] ?? "/usr/bin:/bin",
      HOME: join(this.root, "home"),
      XDG_STATE_HOME: join(this.root, "state"),
      XDG_RUNTIME_DIR: join(this.root, "run"),
      XDG_CONFIG_HOME: join(this.root, "config"),
      SESSIOND_MODEL: "practice",
    };
    for (const name of ["home", "run"]) mkdirSync(join(this.root, name), { mode: 0o700 });
  }

  workdir(name: string): string {
    const path = join(this.root, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** What a terminal runs. */
  command(...args: readonly string[]): string[] {
    return [process.execPath, bin, ...args];
  }

  start(cwd: string, args: readonly string[], input = ""): Running {
    const child = spawn(process.execPath, [bin, ...args], { cwd, env: this.env });
    const { pid = 0 } = child;
    let [stdout, stderr] = ["", ""];
    const watchers = new Set<() => void>();
    const heard = (): void => watchers.forEach((watch) => watch());
    child.stdout.setEncoding("utf8").on("data", (text: string) => ((stdout += text), heard()));
    child.stderr.setEncoding("utf8").on("data", (text: string) => ((stderr += text), heard()));
    child.stdin.on("error", () => undefined).end(input);
    this.#running.add(pid);
    const done = new Promise<Outcome>((settle) => {
      child.once("close", (code) => {
        this.#running.delete(pid);
        const outcome = { code, stdout, stderr };
        this.printed.push({ ...outcome, args });
        heard();
        settle(outcome);
      });
    });
    const said = (text: string): Promise<void> =>
      new Promise((settle, fail) => {
        const look = (): void => {
          if (`${stdout}${stderr}`.includes(text)) settle();
          else if (!this.#running.has(pid)) fail(new Error(`ended without saying ${JSON.stringify(text)}: ${stdout}${stderr}`));
        };
        watchers.add(look);
        look();
      });
    return { pid, done, said, signal: (signal) => void child.kill(signal) };
  }

  run(cwd: string, ...args: readonly string[]): Promise<Outcome> {
    return this.start(cwd, args).done;
  }

  /** The library's own hold on the same daemon, for a test that needs a second client. */
  async host(): Promise<Host> {
    const host = await connect({ env: this.env, bin, clientName: "the test" });
    this.#hosts.push(host);
    return host;
  }

  async close(): Promise<void> {
    await Promise.all(this.#hosts.map((host) => host.close()));
    for (const pid of this.#running) process.kill(pid, "SIGKILL");
    await this.run(this.root, "down", "--wait", "0");
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** What `--json` prints: an object a line. */
export const jsonLines = (text: string): Record<string, unknown>[] =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

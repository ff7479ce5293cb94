/**
 * Real terminals: panes of a tmux server of this test's own, each with one program in it, typed
 * into and read as a person would. Needs tmux; `hasTmux` says whether it is here.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "./eventually.ts";

export const hasTmux = spawnSync("tmux", ["-V"]).status === 0;

/** Less than a test may take, so that what the terminal shows is told. */
const endedWithinMs = 15_000;
const shownWithinMs = 15_000;

export class Terminals {
  readonly #env: NodeJS.ProcessEnv;
  #count = 0;

  /** @param dir  for the server's socket; @param env  of every program */
  constructor(dir: string, env: Readonly<Record<string, string>>) {
    const sockets = join(dir, "tmux");
    mkdirSync(sockets, { mode: 0o700 });
    this.#env = { ...env, TMUX_TMPDIR: sockets, NO_COLOR: "1", LC_ALL: "C.UTF-8" };
  }

  /** A terminal of 80 columns in which that runs. */
  open(cwd: string, command: readonly string[], rows = 50): Terminal {
    const name = `t${++this.#count}`;
    this.tmux("new-session", "-d", "-s", name, "-x", "80", "-y", String(rows), "-c", cwd, ...command, ";", "set-option", "-t", name, "remain-on-exit", "on");
    return new Terminal(this, name);
  }

  tmux(...args: readonly string[]): string {
    // A socket name of our own: nobody's other sessions are touched, not by the end of it either.
    return execFileSync("tmux", ["-L", "cli-help", "-f", "/dev/null", ...args], { env: this.#env, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  }

  close(): void {
    try {
      this.tmux("kill-server");
    } catch {
      // There is none: no terminal was opened.
    }
  }
}

export class Terminal {
  readonly #terminals: Terminals;
  readonly #name: string;

  constructor(terminals: Terminals, name: string) {
    this.#terminals = terminals;
    this.#name = name;
  }

  /** What is on it, and what has scrolled away, without empty lines at its end. */
  screen(): string {
    return this.#terminals.tmux("capture-pane", "-p", "-J", "-S", "-", "-t", this.#name).trimEnd();
  }

  /** Keys as they are, and nothing behind them. */
  keys(text: string): void {
    this.#terminals.tmux("send-keys", "-t", this.#name, "-l", text);
  }

  /** A key by its name: `Enter`, `C-c`. */
  press(key: string): void {
    this.#terminals.tmux("send-keys", "-t", this.#name, key);
  }

  line(text: string): void {
    this.keys(text);
    this.press("Enter");
  }

  /** Resolves with the screen when that is on it. */
  async shows(what: string | RegExp): Promise<string> {
    let seen = "";
    const look = (): string | undefined => {
      seen = this.screen();
      return (typeof what === "string" ? seen.includes(what) : what.test(seen)) ? seen : undefined;
    };
    return eventually(`the terminal shows ${String(what)}`, look, shownWithinMs).catch((error: unknown) => {
      throw new Error(`${String(error)}; it shows:\n${seen}`);
    });
  }

  /** Resolves with the exit code when its program has ended. */
  async ended(): Promise<number> {
    const look = (): string | undefined =>
      /^1:(\d+)$/.exec(this.#terminals.tmux("display-message", "-p", "-t", this.#name, "#{pane_dead}:#{pane_dead_status}").trim())?.[1];
    return Number(
      await eventually("the program has ended", look, endedWithinMs).catch((error: unknown) => {
        throw new Error(`${String(error)}; it shows:\n${this.screen()}`);
      }),
    );
  }
}

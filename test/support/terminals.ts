/**
 * Real terminals: panes of a tmux server of this test's own, each with one program in it, typed
 * into and read as a person would. Needs tmux; `hasTmux` says whether it is here.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "./eventually.ts";

export const hasTmux = spawnSync("tmux", ["-V"]).status === 0;

/** Less than a test may take, so that what the terminal shows is told. */
const endedWithinMs = 15_000;
const shownWithinMs = 15_000;

export class Terminals {
  readonly #env: NodeJS.ProcessEnv;
  readonly #dir: string;
  #count = 0;

  /** @param dir  for the server's socket and what it keeps; @param env  of every program */
  constructor(dir: string, env: Readonly<Record<string, string>>) {
    this.#dir = join(dir, "tmux");
    mkdirSync(this.#dir, { mode: 0o700 });
    this.#env = { ...env, TMUX_TMPDIR: this.#dir, NO_COLOR: "1", LC_ALL: "C.UTF-8" };
  }

  /** A terminal of 80 columns in which that runs. */
  open(cwd: string, command: readonly string[], rows = 50): Terminal {
    const name = `t${++this.#count}`;
    const status = join(this.#dir, name);
    // The shell keeps the exit code, which tmux now and then does not have; a Ctrl-C is the program's alone.
    const kept = ["sh", "-c", 'trap : INT; "$@"; echo $? > "$0.new"; mv "$0.new" "$0"', status, ...command];
    this.tmux("new-session", "-d", "-s", name, "-x", "80", "-y", String(rows), "-c", cwd, ...kept, ";", "set-option", "-t", name, "remain-on-exit", "on");
    return new Terminal(this, name, status);
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
  readonly #status: string;

  constructor(terminals: Terminals, name: string, status: string) {
    this.#terminals = terminals;
    this.#name = name;
    this.#status = status;
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
    const look = (): string | undefined => (existsSync(this.#status) ? readFileSync(this.#status, "utf8") : undefined);
    return Number(
      await eventually("the program has ended", look, endedWithinMs).catch((error: unknown) => {
        throw new Error(`${String(error)}; it shows:\n${this.screen()}`);
      }),
    );
  }
}

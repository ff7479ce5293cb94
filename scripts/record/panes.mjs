// Real terminals for a recording: panes of a tmux server of its own, and what is new on each since it was last looked at.
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

const patienceMs = 25_000;
const lookEveryMs = 50;

export class Panes {
  #env;

  /** @param dir  for the server's socket; @param env  of every program */
  constructor(dir, env) {
    const sockets = join(dir, "tmux");
    mkdirSync(sockets, { mode: 0o700 });
    this.#env = { ...env, TMUX_TMPDIR: sockets, LC_ALL: "C.UTF-8", TERM: "screen-256color" };
  }

  /** A shell of nobody's configuration, 80 columns wide. */
  open(name, cwd) {
    this.tmux("new-session", "-d", "-s", name, "-x", "80", "-y", "60", "-c", cwd, "env", "PS1=$ ", "sh");
    return new Pane(this, name);
  }

  tmux(...args) {
    // A socket name of our own: nobody's other sessions are touched, not by the end of it either.
    return execFileSync("tmux", ["-L", "sessiond-record", "-f", "/dev/null", ...args], { env: this.#env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  }

  close() {
    try {
      this.tmux("kill-server");
    } catch {
      // There is none.
    }
  }
}

class Pane {
  #panes;
  #name;
  #told = [];

  constructor(panes, name) {
    this.#panes = panes;
    this.#name = name;
  }

  line(text) {
    this.#panes.tmux("send-keys", "-t", this.#name, "-l", text);
    this.press("Enter");
  }

  press(key) {
    this.#panes.tmux("send-keys", "-t", this.#name, key);
  }

  screen() {
    return this.#lines().join("\n");
  }

  #lines() {
    const text = this.#panes.tmux("capture-pane", "-p", "-J", "-S", "-", "-t", this.#name);
    return text
      .trimEnd()
      .split("\n")
      .map((line) => line.trimEnd());
  }

  /** Waits until that is among what is new. @throws Error with the screen when it does not come */
  async shows(what) {
    const until = performance.now() + patienceMs;
    for (;;) {
      const fresh = this.#fresh().join("\n");
      if (what.test(fresh)) return;
      if (performance.now() > until) throw new Error(`record: ${this.#name} does not show ${what}; it shows:\n${this.screen()}`);
      await pause(lookEveryMs);
    }
  }

  /** What is new since the last time, as lines. */
  take() {
    const fresh = this.#fresh();
    this.#told = this.#lines();
    return fresh;
  }

  /** The screen only grows, but for the line that is being typed. */
  #fresh() {
    const lines = this.#lines();
    let same = 0;
    while (same < lines.length && lines[same] === this.#told[same]) same++;
    return lines.slice(same);
  }
}

// Another terminal: `sessiond attach --view --json` as a process of its own. Every frame that it was given is kept
// as it came, and checked against the one before.
import { createInterface } from "node:readline";
import { command } from "./stage.mjs";
import { within } from "./waiting.mjs";

export class Watcher {
  frames = new Map();
  last = 0;
  /** What was wrong with the frames, in words. */
  faults = [];
  said = "";
  #waiting = new Set();

  constructor(stage, args = []) {
    this.child = stage.start(process.execPath, [command, "attach", "--view", "--json", ...args]);
    createInterface({ input: this.child.stdout }).on("line", (line) => this.#take(JSON.parse(line)));
    this.child.stderr.on("data", (piece) => (this.said += String(piece)));
    this.ended = new Promise((tell) => this.child.once("close", (code) => tell(code)));
    void this.ended.then(() => this.#tell());
  }

  /** Until it has seen the frame of that seq. */
  seen(seq) {
    return within(
      `the watcher sees frame ${seq}`,
      this.#until(() => this.last >= seq),
    );
  }

  /** Until it was given a frame of which this holds, now or before. */
  met(holds) {
    return within(
      "the watcher sees it",
      this.#until(() => [...this.frames.values()].some((text) => holds(JSON.parse(text)))),
    );
  }

  /** Until it has its first picture. */
  ready() {
    return within(
      "the watcher is seated",
      this.#until(() => this.last > 0),
    );
  }

  async #until(holds) {
    while (!holds()) {
      if (this.child.exitCode !== null) throw new Error(`the watcher ended with ${this.child.exitCode}: ${this.said.trim()}`);
      await new Promise((tell) => this.#waiting.add(tell));
    }
  }

  #take(item) {
    if (item.type === "snapshot") {
      if (this.last > 0) this.faults.push(`a snapshot took the place of frames after ${this.last}`);
      this.last = this.first = item.state.seq;
    } else if (item.type === "frame") {
      if (item.frame.seq !== this.last + 1) this.faults.push(`frame ${item.frame.seq} came after ${this.last}`);
      this.last = item.frame.seq;
      this.frames.set(item.frame.seq, JSON.stringify(item.frame));
    }
    this.#tell();
  }

  #tell() {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }
}

// Another terminal with `sessiond attach --view` in it, as a person would have it: what stands on its screen is
// what the demo shows.
import { command } from "./stage.mjs";
import { within } from "./waiting.mjs";

export class Terminal {
  #text = "";
  #shown = 0;
  #wake = () => {};

  constructor(stage) {
    // One pipe for both outputs, as a terminal has it: their order is kept.
    this.child = stage.start("sh", ["-c", 'exec "$0" "$@" 2>&1', process.execPath, command, "attach", "--view"]);
    this.child.stdout.setEncoding("utf8").on("data", (piece) => {
      this.#text += piece;
      this.#wake();
    });
  }

  /** What came onto the screen since the last time, up to the line that matches. */
  async upTo(pattern) {
    const look = async () => {
      for (;;) {
        const fresh = this.#text.slice(this.#shown);
        const match = pattern.exec(fresh);
        const end = match === null ? -1 : fresh.indexOf("\n", match.index + match[0].length);
        if (end >= 0) {
          this.#shown += end + 1;
          return fresh.slice(0, end);
        }
        if (this.child.exitCode !== null) throw new Error(`the terminal ended with ${this.child.exitCode}: ${fresh.trim()}`);
        await new Promise((tell) => (this.#wake = tell));
      }
    };
    return within(`the terminal shows ${pattern}`, look()).catch((error) => {
      throw new Error(`${error.message}; it shows: ${this.#text.slice(this.#shown).trim() || "nothing"}`);
    });
  }
}

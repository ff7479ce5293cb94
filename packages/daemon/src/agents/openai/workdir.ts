import { HeldDirectory } from "./held-directory.ts";
import { ToolError } from "./tools/tool.ts";

/**
 * The one directory that an agent works in: where its path leads without any link, and the same one
 * (device and inode) from the agent's first look at it to its end. Whoever may write above it, as
 * the command of another session may, can put a link or another directory in its place; then
 * nothing is done, neither there nor where the old one went.
 *
 * A session is its path, so the next life works in what is there then: that is how one made anew
 * is gone on in.
 */
export class Workdir {
  /** Real. */
  readonly path: string;
  #noted: Promise<string | null>;

  constructor(path: string) {
    this.path = path;
    this.#noted = this.#look();
  }

  /** To be looked at before each call, and held until what it does is done or started. @throws ToolError when it is not where it was */
  async hold(): Promise<HeldDirectory> {
    const noted = await this.#noted;
    const held = await HeldDirectory.open(this.path).catch(() => null);
    if (held === null) throw moved(this.path, "is no directory any more, but a link, a file or nothing, or cannot be opened", back);
    if (held.path === this.path && held.id === (noted ?? held.id)) {
      // There was nothing to note at first.
      if (noted === null) this.#noted = Promise.resolve(held.id);
      return held;
    }
    await held.close();
    if (held.path !== this.path) throw moved(this.path, "now leads elsewhere by a link", back);
    throw moved(
      this.path,
      "is another directory by now",
      `${back}; to work in the one that is there now, stop the session and start it again: its conversation stays`,
    );
  }

  async #look(): Promise<string | null> {
    const held = await HeldDirectory.open(this.path).catch(() => null);
    void held?.close().catch(() => undefined);
    return held?.path === this.path ? held.id : null;
  }
}

const back = "Put it back to go on";

const moved = (path: string, what: string, remedy: string): ToolError =>
  new ToolError(`The working directory is not where it was: ${path} ${what}. Nothing was read, written or run. ${remedy}.`);

import { setTimeout as pause } from "node:timers/promises";
import type { Limits } from "@sessiond/shared";
import { JsonRpcPeer, type PeerOptions } from "@sessiond/shared/acp";
import type { Exit, TalkingChild } from "../children.ts";
import type { StderrFile } from "./stderr-file.ts";

/**
 * An agent's process, and the connection with it: its output is read as fast as its session takes it,
 * and all that it started ends with it.
 */
export interface ProgramOptions extends Pick<PeerOptions, "onRequest" | "onNotification" | "report"> {
  readonly limits: Limits;
  readonly log: StderrFile;
  /** It has ended without being told to; whoever waits for it is told after this. */
  readonly onEnd: (words: string) => void;
}

export class Program {
  readonly peer: JsonRpcPeer;
  readonly log: StderrFile;
  readonly #child: TalkingChild;
  readonly #onEnd: (words: string) => void;
  readonly #ended: Promise<void>;
  readonly #limits: Limits;
  #over = false;
  #ending: Promise<void> | null = null;

  constructor(child: TalkingChild, { limits, log, onEnd, ...handlers }: ProgramOptions) {
    this.#child = child;
    this.#limits = limits;
    this.log = log;
    this.#onEnd = onEnd;
    this.peer = new JsonRpcPeer({ ...handlers, limits, write: (text) => this.#write(text), onDropped: (why) => log.note("dropped", why) });
    log.drain(child.stderr);
    this.#ended = this.#read();
    // Also when what is wrong is the connection alone: nobody talks with it any more.
    void this.peer.closed.then(() => this.end());
    void child.exited.then(() => this.#leftBehind());
  }

  get over(): boolean {
    return this.#over || this.#ending !== null;
  }

  /**
   * End it, and all that it started; repeated calls join the first.
   *
   * @param goodbye  what is done before, where there is time for that; it must be bounded and not reject
   */
  end(goodbye?: () => Promise<void>): Promise<void> {
    return (this.#ending ??= this.#end(goodbye));
  }

  async #end(goodbye?: () => Promise<void>): Promise<void> {
    await goodbye?.();
    this.#child.stdin.end();
    // Most leave when nobody talks with them any more, and have put away then what they keep.
    if (goodbye !== undefined) await this.#within(this.#limits.agent_close_wait_ms, this.#child.exited);
    this.peer.close("it was ended");
    await this.#child.end(this.#limits.kill_wait_ms);
    // What has left its group and its mark may hold the pipe still.
    this.#child.stdout.destroy();
    this.#child.stderr.destroy();
    await this.#ended;
    this.log.close();
  }

  async #read(): Promise<void> {
    try {
      for await (const bytes of this.#child.stdout) {
        this.peer.receive(bytes as Uint8Array);
        await this.peer.handled();
      }
    } catch {
      // Its pipe was let go of.
    }
    const exit = await this.#within(this.#limits.agent_exit_wait_ms, this.#child.exited);
    this.#over = true;
    // Its last words are in another pipe.
    if (exit !== undefined) await this.#within(this.#limits.agent_exit_wait_ms, this.#child.closed);
    const words = wordsOf(exit, this.log.last);
    if (this.#ending === null) {
      this.log.note("ended", words);
      this.#onEnd(words);
    }
    this.peer.end(words);
  }

  /** It has ended; what it started has not, and may hold its output. What it said last is read all the same. */
  async #leftBehind(): Promise<void> {
    await this.#child.end(this.#limits.kill_wait_ms);
    await this.#within(this.#limits.agent_exit_wait_ms, this.#child.closed);
    await this.peer.handled();
    this.#child.stdout.destroy();
  }

  #write(text: string): Promise<void> | void {
    const { stdin } = this.#child;
    if (!stdin.writable || stdin.write(text)) return;
    return new Promise((resolve) => {
      const done = (): void => {
        stdin.off("drain", done).off("close", done);
        resolve();
      };
      stdin.once("drain", done).once("close", done);
    });
  }

  /** Undefined when it did not come about in time. */
  async #within<T>(ms: number, work: Promise<T>): Promise<T | undefined> {
    const timer = new AbortController();
    try {
      return await Promise.race([work, pause(ms, undefined, { signal: timer.signal })]);
    } finally {
      timer.abort();
    }
  }
}

function wordsOf(exit: Exit | undefined, last: string): string {
  const how =
    exit === undefined
      ? "it closed its output"
      : exit.error !== undefined
        ? `it could not be started: ${exit.error}`
        : exit.signal === null
          ? `exit code ${exit.code}`
          : `ended by ${exit.signal}`;
  return last === "" ? how : `${how}; it said last: ${last}`;
}

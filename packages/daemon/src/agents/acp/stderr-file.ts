import { closeSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";
import type { Readable } from "node:stream";
import { StringDecoder } from "node:string_decoder";
import { escapeDeceptive, type Limits } from "@sessiond/shared";
import { agentLogName, agentLogWords } from "../../agent-log.ts";
import type { Hide } from "./hidden-secrets.ts";

/**
 * What an agent says beside its answers, in the session's directory: for people, and for doctor. It is
 * written by whole lines, in which secrets can be found; kept once as `.1` when it has grown; and always
 * drained, so that an agent never blocks on it. A disk that takes nothing fails nobody.
 */
export class StderrFile {
  readonly #path: string;
  readonly #limits: Limits;
  readonly #hide: Hide;
  #descriptor: number | null = null;
  #bytes = 0;
  #line = "";
  /** The rest of the open line is left out. */
  #cut = false;
  #last = "";

  /** @param directory  of the session; it is there */
  constructor(directory: string, { limits, hide }: { limits: Limits; hide: Hide }) {
    this.#path = `${directory}/${agentLogName}`;
    this.#limits = limits;
    this.#hide = hide;
  }

  /** The agent's newest line that is not blank, for a sentence: without secrets, and nothing that a terminal obeys. */
  get last(): string {
    const open = this.#hide(this.#line, true).trim();
    return escapeDeceptive(open === "" ? this.#last : open).slice(0, this.#limits.agent_text_chars_max);
  }

  /** A line of the daemon's own. */
  note(kind: keyof typeof agentLogWords, text: string): void {
    this.#write(`${agentLogWords[kind]} ${this.#hide(text).replaceAll("\n", " ")}\n`);
  }

  drain(pipe: Readable): void {
    const decoder = new StringDecoder("utf8");
    pipe.on("data", (bytes: Buffer) => this.#take(decoder.write(bytes)));
    pipe.on("end", () => {
      // It may have been ended in the middle of what it wrote.
      this.#line = this.#hide(this.#line, true);
      this.#take("\n");
    });
    pipe.on("error", () => undefined);
  }

  close(): void {
    if (this.#descriptor !== null) closeSync(this.#descriptor);
    this.#descriptor = null;
  }

  #take(text: string): void {
    const most = this.#limits.agent_stderr_line_chars_max;
    const all = this.#line + text;
    const end = all.lastIndexOf("\n") + 1;
    // Secrets are looked for before anything is cut; one write for all that came together.
    if (end > 0) this.#put(this.#hide(all.slice(0, end)).split("\n"));
    this.#line = all.slice(end);
    if (end > 0 && this.#cut) this.#cut = false;
    if (this.#cut) this.#line = "";
    if (this.#line.length <= 2 * most) return;
    // The rest of a line that is too long is left out: what has come of it may end in the middle of a secret.
    this.#put([this.#hide(this.#line, true)]);
    this.#cut = true;
    this.#line = "";
  }

  #put(lines: readonly string[]): void {
    const told = lines
      .slice(this.#cut ? 1 : 0)
      .map((line) => line.slice(0, this.#limits.agent_stderr_line_chars_max))
      .filter((line) => line !== "");
    this.#last = told.findLast((line) => line.trim() !== "")?.trim() ?? this.#last;
    // The daemon's lines are known by how they begin.
    if (told.length > 0) this.#write(told.map((line) => `${line.startsWith("== ") ? " " : ""}${line}\n`).join(""));
  }

  #write(text: string): void {
    try {
      this.#descriptor ??= this.#open();
      this.#bytes += writeSync(this.#descriptor, text);
      if (this.#bytes <= this.#limits.agent_stderr_bytes_max) return;
      this.close();
      renameSync(this.#path, `${this.#path}.1`);
    } catch {
      // What it said is lost; the agent and its session go on.
    }
  }

  #open(): number {
    const descriptor = openSync(this.#path, "a", 0o600);
    this.#bytes = fstatSync(descriptor).size;
    return descriptor;
  }
}

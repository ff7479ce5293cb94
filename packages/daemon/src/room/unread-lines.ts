import { limits, SessiondError } from "@sessiond/shared";
import type { DiskFile } from "../disk.ts";
import { kindOf, linesFrom, parseLine, partBytes, type SparseIndex } from "./journal-file.ts";
import { readHeader } from "./segment.ts";
import { indexSealed, type Lines } from "./segment-file.ts";

/**
 * The lines of a sealed segment that was written before this life of the daemon. Who pages back looks at them a part at a
 * time, from the end on, with the bytes that his page needs anyway. Each is parsed, and must follow the one before it;
 * where one does not, and where somebody comes from elsewhere, all of the segment is looked through once instead, as
 * indexSealed does it: so that no line that cannot be read, and no hole, is ever passed by.
 */
interface Bytes {
  readonly at: number;
  readonly bytes: Buffer;
}

const none: Bytes = { at: 0, bytes: Buffer.alloc(0) };

export class UnreadLines {
  readonly #file: DiskFile;
  readonly #index: SparseIndex;
  readonly #bad: Set<number>;
  readonly #end: number;
  readonly #after: number;
  readonly #last: number | null;
  /** What was read last: a page that it does not fit into leaves it to the next one. No more than a page. */
  #held = none;
  #looking: Promise<void> | null = null;

  /**
   * @param lines  filled by what is looked at
   * @param after  seq of the last frame before the segment
   * @param last   seq of its own last frame, where it is dense
   */
  constructor(file: DiskFile, { index, bad, end }: Lines, { after, last }: { after: number; last: number | null }) {
    this.#file = file;
    this.#index = index;
    this.#bad = bad;
    this.#end = end;
    this.#after = after;
    this.#last = last;
  }

  /** Look at some lines in front of those that are known; or wait until somebody else has. @throws what the disk throws */
  back(): Promise<void> {
    return this.#alone(async () => (await this.#back()) || this.#all());
  }

  /** Look through all of it; or wait, as `back`. @throws SessiondError storage_failed, or what the disk throws */
  all(): Promise<void> {
    return this.#alone(() => this.#all());
  }

  /** From what was read last, or from the file. @throws what the disk throws */
  async read(position: number, length: number): Promise<Buffer> {
    const held = cut(this.#held, position, length);
    // The last of it that anybody pages back to.
    if (this.#index.whole) this.#held = none;
    return held ?? this.#file.read(position, length);
  }

  #alone(look: () => Promise<unknown>): Promise<void> {
    this.#looking ??= look().then(
      () => void (this.#looking = null),
      (error: unknown) => {
        this.#looking = null;
        throw error;
      },
    );
    return this.#looking;
  }

  /** @returns false where a line is not as it was written */
  async #back(): Promise<boolean> {
    const end = this.#index.known;
    const read = await this.#linesBefore(end);
    if (read === null) return false;
    const from = read.start;
    let start = from;
    let first: number | null = null;
    let before = this.#after;
    for await (const line of linesFrom({ read: (position, length) => Promise.resolve(cut(read, position, length) ?? none.bytes) }, from, end)) {
      const isHeader = line.offset === 0 && line.text.startsWith('{"after":');
      if (isHeader && parseLine(line.text)?.["after"] !== this.#after) return false;
      if (isHeader) start = line.end;
      const kind = isHeader ? { epoch: null } : kindOf(line);
      if (kind === null) return false;
      if ("epoch" in kind) continue;
      const { seq } = kind.frame;
      if (seq <= before || (this.#last !== null && first !== null && seq !== before + 1)) return false;
      first ??= seq;
      before = seq;
    }
    // Where it is dense its first frame has a number that is known.
    const isFirst = this.#last === null ? from === 0 : first === this.#after + 1;
    if (from === 0 && !isFirst) return false;
    const next = this.#index.first ?? (this.#last ?? before) + 1;
    if (before >= next || (this.#last !== null && before + 1 !== next)) return false;
    if (first !== null) this.#index.precede(first, start);
    if (isFirst) this.#index.begin(start);
    return first !== null || isFirst;
  }

  /** @returns bytes up to `end`, in which a line begins at `start`; null when there is no such line */
  async #linesBefore(end: number): Promise<(Bytes & { start: number }) | null> {
    // The end of a line whose beginning was not read yet.
    const rest = cut(this.#held, this.#held.at, end - this.#held.at);
    const parts = rest === null ? [] : [rest];
    for (let at = end - (rest?.length ?? 0); at > 0 && end - at <= limits.journal_line_bytes_max;) {
      const length = Math.min(partBytes, at);
      at -= length;
      const read = await this.#file.read(at, length);
      // It is shorter than it was.
      if (read.length < length) return null;
      parts.unshift(read);
      const newline = read.indexOf("\n");
      const start = at === 0 ? 0 : at + newline + 1;
      if (at > 0 && (newline === -1 || start === end)) continue;
      const bytes = { at, bytes: Buffer.concat(parts) };
      this.#held = bytes.bytes.length <= limits.page_bytes_max ? bytes : none;
      return { ...bytes, start };
    }
    return null;
  }

  async #all(): Promise<void> {
    this.#held = none;
    const header = await readHeader(this.#file, this.#after);
    if (typeof header === "string") throw new SessiondError("storage_failed", { reason: "the head of a journal's segment cannot be read" });
    const { index, bad, end } = await indexSealed(this.#file, header.end, { after: this.#after, last: this.#last, ahead: header.ahead });
    this.#index.become(index);
    // Shorter than it was: lines are missing where readers know its end.
    for (const offset of bad) this.#bad.add(offset === end ? this.#end : offset);
    if (end < this.#end) this.#bad.add(this.#end);
  }
}

/** A part of them, where they are all there. */
const cut = ({ at, bytes }: Bytes, position: number, length: number): Buffer | null =>
  length > 0 && position >= at && position + length <= at + bytes.length ? bytes.subarray(position - at, position - at + length) : null;

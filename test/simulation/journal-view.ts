import type { Frame } from "@sessiond/shared";
import { Directory, Inode, type Platter } from "./platter.ts";
import { holds } from "./violation.ts";

/**
 * A session's journal as it lies on the disk, read by other means than the daemon's own: every frame
 * that was ever seen in it, with its text and where it lies. What somebody has been shown, or was told
 * is safe, must never change its text nor vanish.
 */
interface Place {
  readonly text: string;
  readonly inode: Inode;
  readonly path: string;
  readonly end: number;
}

interface ReadFile {
  readonly inode: Inode;
  parsedTo: number;
  rewrites: number;
}

export class JournalView {
  /** Highest seq that anybody was shown or that was acknowledged. */
  settled = 0;
  /** Highest seq that was acknowledged. */
  acknowledged = 0;
  /** Counts losses of power that took frames with them. */
  losses = 0;
  compactedThrough = 0;
  /** Up to here a compaction was written at least: nobody who comes may count on what it leaves out, put in its place or not. */
  compactionBegunThrough = 0;
  /** Epochs that begin in it, as far as they were met. */
  readonly epochs = new Set<number>();
  readonly #platter: Platter;
  readonly #directory: string;
  #frames: (Place | undefined)[] = [];
  readonly #files = new Map<string, ReadFile>();

  constructor(platter: Platter, directory: string) {
    this.#platter = platter;
    this.#directory = directory;
  }

  /** Seq of the last frame. */
  get last(): number {
    return this.#frames.length - 1;
  }

  text(seq: number): string | undefined {
    return this.#frames[seq]?.text;
  }

  frame(seq: number): Frame | undefined {
    const text = this.text(seq);
    return text === undefined ? undefined : (JSON.parse(text) as Frame);
  }

  /** True when a loss of power in this step would leave the frame. */
  isDurable(seq: number): boolean {
    this.refresh();
    if (seq <= this.compactedThrough) return true;
    const place = this.#frames[seq];
    return place !== undefined && place.inode.synced.length >= place.end && this.#platter.durableFile(place.path) === place.inode;
  }

  /** Bytes of all its files. */
  get bytes(): number {
    return this.#names().reduce((sum, name) => sum + (this.#platter.file(`${this.#directory}/${name}`)?.bytes.length ?? 0), 0);
  }

  /** Take in what has been written. @param powerLost  what was shown and not synced may be gone */
  refresh(powerLost = false): void {
    const names = this.#names();
    this.#noteBegun(names);
    let gone = [...this.#files].some(([name, { inode, rewrites }]) => !names.includes(name) || this.#file(name) !== inode || inode.rewrites !== rewrites);
    if (powerLost) gone = true;
    if (gone) return this.#again(names, powerLost);
    for (const name of names) this.#read(name);
  }

  #names(): string[] {
    const directory = this.#platter.find(this.#directory);
    if (!(directory instanceof Directory)) return [];
    return [...directory.names.keys()].filter((name) => /^journal(-\d+)?$/.test(name)).toSorted((a, b) => afterOf(a) - afterOf(b));
  }

  #noteBegun(names: readonly string[]): void {
    const directory = this.#platter.find(this.#directory);
    if (!(directory instanceof Directory)) return;
    const begun = [...directory.names.keys()]
      .filter((name) => /^journal(-\d+)?\.compact$/.test(name))
      .map((name) => afterOf(name.slice(0, -".compact".length)));
    for (const after of begun) this.compactionBegunThrough = Math.max(this.compactionBegunThrough, names.map(afterOf).find((other) => other > after) ?? 0);
  }

  #file(name: string): Inode | undefined {
    return this.#platter.file(`${this.#directory}/${name}`);
  }

  /** Something else than an addition has happened: everything is read from the beginning and compared. */
  #again(names: readonly string[], powerLost: boolean): void {
    const before = this.#frames;
    this.#frames = [];
    this.#files.clear();
    for (const name of names) this.#read(name);
    // What compaction took or merged stays known as it was.
    for (let seq = 1; seq <= this.compactedThrough && seq < before.length; seq++) this.#keep(seq, before[seq]);
    const kept = powerLost ? this.acknowledged : this.settled;
    for (let seq = 1; seq <= kept; seq++) {
      const [was, is] = [before[seq]?.text, this.#frames[seq]?.text];
      holds(is !== undefined, powerLost ? "B36" : "B30", () => `frame ${seq} of ${this.#directory} is gone; it was ${was ?? "?"}`);
      holds(was === undefined || is === was, powerLost ? "B36" : "B30", () => `frame ${seq} of ${this.#directory} was ${was ?? ""} and is ${is}`);
    }
    if (!powerLost) return;
    let lost = 0;
    for (let seq = kept + 1; seq <= this.settled; seq++) if (this.#frames[seq]?.text !== before[seq]?.text) lost ||= seq;
    if (lost === 0) return;
    this.losses += 1;
    this.settled = lost - 1;
  }

  #keep(seq: number, place: Place | undefined): void {
    const now = this.#frames[seq]?.text;
    if (place === undefined) return;
    if (now !== undefined && now !== place.text) this.#mustBeMerged(seq, place.text, now);
    this.#frames[seq] = place;
  }

  /** Compaction may put the texts of neighbouring chunks into the last of them, and change nothing else. */
  #mustBeMerged(seq: number, was: string, is: string): void {
    const [before, after] = [JSON.parse(was) as Frame, JSON.parse(is) as Frame];
    const textOf = ({ event }: Frame): string => ("content" in event ? event.content.text : "");
    holds(before.event.type.endsWith("_chunk") && before.event.type === after.event.type, "B47", () => `compaction made ${is} of ${was}`);
    holds(textOf(after).endsWith(textOf(before)), "B47", () => `compaction lost text of frame ${seq}: ${is}`);
  }

  #read(name: string): void {
    const inode = this.#file(name);
    if (inode === undefined) return;
    const known = this.#files.get(name) ?? { inode, parsedTo: 0, rewrites: inode.rewrites };
    this.#files.set(name, known);
    const { bytes } = inode;
    for (let end = bytes.indexOf(10, known.parsedTo); end !== -1; end = bytes.indexOf(10, known.parsedTo)) {
      this.#line(bytes.toString("utf8", known.parsedTo, end), { inode, path: `${this.#directory}/${name}`, end: end + 1 });
      known.parsedTo = end + 1;
    }
  }

  #line(text: string, place: Omit<Place, "text">): void {
    if (text.startsWith('{"after":')) {
      if (text.includes('"compacted":true')) this.#compacted(Number(/^\{"after":(\d+)/.exec(text)?.[1] ?? 0), place);
      return;
    }
    if (text.startsWith('{"epoch":')) {
      this.epochs.add(Number(text.slice(9, text.indexOf(","))));
      return;
    }
    if (!text.startsWith('{"seq":')) return;
    const seq = Number.parseInt(text.slice(7), 10);
    const known = this.#frames[seq];
    holds(
      seq === this.#frames.length || seq <= this.compactedThrough || known?.text === text || this.#frames.length <= 1,
      "B30",
      () => `frame ${seq} follows ${this.last} in ${place.path}`,
    );
    this.#frames[seq] = { ...place, text };
  }

  /** Where it ends is told by the name of the next segment. */
  #compacted(after: number, { path }: Omit<Place, "text">): void {
    const next = this.#names()
      .map(afterOf)
      .find((other) => other > after);
    holds(next !== undefined, "B47", () => `${path} is compacted and is the last one`);
    this.compactedThrough = Math.max(this.compactedThrough, next);
    while (this.#frames.length <= next) this.#frames.push(undefined);
  }
}

const afterOf = (name: string): number => (name === "journal" ? 0 : Number(name.slice("journal-".length)));

import type { Finding, FindingKind } from "@sessiond/shared";

/** A finding without what the collector knows already. */
export type Found = Omit<Finding, "kind" | "weight" | "session_id">;

export const backup = "put a backup of it in its place, if there is one";

export const count = (n: number, one: string, many = `${one}s`): string => `${n.toLocaleString("en-US")} ${n === 1 ? one : many}`;
export const frameNames = (first: number, last: number): string => (first === last ? `frame ${first} is` : `frames ${first} to ${last} are`);

/** Collects what is found; beyond `max` findings are only counted: such a list is not read by anybody. */
export class Findings {
  readonly list: Finding[] = [];
  readonly #about: Pick<Finding, "session_id">;
  readonly #max: number;
  #more = 0;

  constructor(max: number, about: Pick<Finding, "session_id"> = {}) {
    this.#max = max;
    this.#about = about;
  }

  wrong(kind: FindingKind, found: Found): void {
    this.#add({ kind, weight: "wrong", ...this.#about, ...found });
  }

  note(kind: FindingKind, found: Found): void {
    this.#add({ kind, weight: "note", ...this.#about, ...found });
  }

  /** Everything, the last line saying how much was left out. */
  all(): readonly Finding[] {
    if (this.#more === 0) return this.list;
    const what = `${count(this.#more, "finding")} more of this kind and others were left out`;
    return [...this.list, { kind: "unreadable", weight: "wrong", ...this.#about, what, mend: backup }];
  }

  #add(finding: Finding): void {
    if (this.list.length < this.#max) this.list.push(finding);
    else this.#more += 1;
  }
}

/** `12 kB`, `3.4 MB`, `56.7 GB`. */
export function sized(bytes: number): string {
  if (bytes < 1_000_000) return `${Math.ceil(bytes / 1_000)} kB`;
  return bytes < 1_000_000_000 ? `${(bytes / 1_000_000).toFixed(1)} MB` : `${(bytes / 1_000_000_000).toFixed(1)} GB`;
}

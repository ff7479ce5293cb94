import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What may befall the files of a stored session that had one turn, and what a start is to make of it. */
const journalIn = (folder: string): string => join(folder, "journal");
const change = (path: string, how: (bytes: string) => string): void => writeFileSync(path, how(readFileSync(path, "latin1")), "latin1");
const lineOf = (bytes: string, index: number): string => bytes.split("\n")[index] ?? "";

/** What becomes of a session: `goes on` with its conversation up to the damage, `begins anew` under its id, or only `refuses`. */
export interface Damage {
  readonly how: string;
  /** @param folder  the session's */
  readonly make: (folder: string) => void;
  readonly becomes: "goes on" | "begins anew" | "refuses";
  /** The begin of the name under which it lies afterwards, beside where it was. */
  readonly aside?: string;
}

export const damages: readonly Damage[] = [
  { how: "nothing", make: () => undefined, becomes: "goes on" },
  { how: "a torn last line", make: (folder) => change(journalIn(folder), (bytes) => bytes + lineOf(bytes, 3).slice(0, 60)), becomes: "goes on" },
  { how: "a last block of NUL bytes", make: (folder) => change(journalIn(folder), (bytes) => bytes + "\0".repeat(4_096)), becomes: "goes on" },
  {
    how: "garbage in the middle",
    make: (folder) => change(journalIn(folder), (bytes) => bytes.replace(lineOf(bytes, 4), "garbage")),
    becomes: "goes on",
    aside: "journal.damaged-",
  },
  {
    how: "NUL bytes in the middle",
    make: (folder) => change(journalIn(folder), (bytes) => bytes.replace(lineOf(bytes, 4), "\0".repeat(64))),
    becomes: "goes on",
    aside: "journal.damaged-",
  },
  {
    how: "a whole line twice",
    make: (folder) => change(journalIn(folder), (bytes) => bytes.replace(lineOf(bytes, 4), `${lineOf(bytes, 4)}\n${lineOf(bytes, 4)}`)),
    becomes: "goes on",
    aside: "journal.damaged-",
  },
  {
    how: "a line left out",
    make: (folder) => change(journalIn(folder), (bytes) => bytes.replace(`${lineOf(bytes, 4)}\n`, "")),
    becomes: "goes on",
    aside: "journal.damaged-",
  },
  {
    how: "a line that a later version wrote",
    make: (folder) =>
      change(journalIn(folder), (bytes) => `${bytes}{"seq":${bytes.trimEnd().split("\n").length},"at":1,"event":{"type":"from_the_future","x":1}}\n`),
    becomes: "goes on",
  },
  { how: "an empty journal", make: (folder) => writeFileSync(journalIn(folder), ""), becomes: "begins anew" },
  { how: "a journal of garbage", make: (folder) => writeFileSync(journalIn(folder), "garbage\nand more\n"), becomes: "begins anew", aside: "journal.damaged-" },
  {
    how: "a journal that is a directory",
    make: (folder) => (renameSync(journalIn(folder), join(folder, "away")), mkdirSync(journalIn(folder))),
    becomes: "refuses",
  },
  {
    how: "a journal that is a link",
    make: (folder) => (renameSync(journalIn(folder), join(folder, "away")), symlinkSync("away", journalIn(folder))),
    becomes: "refuses",
  },
  {
    how: "session.json cut short",
    make: (folder) => change(join(folder, "session.json"), (bytes) => bytes.slice(0, bytes.length / 2)),
    becomes: "goes on",
    aside: "session.json.unreadable-",
  },
  { how: "session.json empty", make: (folder) => writeFileSync(join(folder, "session.json"), ""), becomes: "goes on", aside: "session.json.unreadable-" },
  {
    how: "session.json of another version",
    make: (folder) => change(join(folder, "session.json"), (bytes) => bytes.replace('"version":1', '"version":2')),
    becomes: "goes on",
    aside: "session.json.unreadable-",
  },
  { how: "session.json gone", make: (folder) => rmSync(join(folder, "session.json")), becomes: "goes on" },
  { how: "its folder gone", make: (folder) => rmSync(folder, { recursive: true }), becomes: "begins anew" },
  {
    how: "leftover temporary files",
    make: (folder) => [".session.json.17-3", "journal-99.compact"].forEach((name) => writeFileSync(join(folder, name), "half")),
    becomes: "goes on",
  },
];

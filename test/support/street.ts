import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AgentDriver, type DriverOptions } from "./agent-driver.ts";
import { freshDir } from "./sandboxed.ts";

/**
 * A workdir that lies in another session's, beside what neither may reach: the private files of the home, and the
 * daemon's state. The other session may write above the workdir, and so put something else in its place.
 */
export class Street {
  readonly root = freshDir();
  /** The other session's. */
  readonly outer = this.at("home/r");
  readonly workdir = this.at("home/r/pk/sub");
  readonly state = this.at("home/state");

  constructor() {
    // What lies outside has the same names as what lies inside, so that nothing fails for want of them.
    for (const dir of [this.workdir, this.at("home/priv"), this.at("home/priv/sub"), this.state, this.at("home/r/other")]) {
      mkdirSync(join(dir, "deep"), { recursive: true });
      if (dir !== this.workdir) writeFileSync(join(dir, "deep/SECRET"), "");
      for (const name of ["diary", "deep/diary", "host-key"]) writeFileSync(join(dir, name), dir === this.workdir ? "MINE" : "THE-SECRET");
    }
  }

  at(path: string): string {
    return join(this.root, path);
  }

  driver(options: DriverOptions = {}): AgentDriver {
    const childEnv = { PATH: process.env["PATH"] ?? "", HOME: this.at("home") };
    return new AgentDriver({ workdir: this.workdir, forbiddenDirs: [this.state], childEnv, ...options });
  }

  /** All that lies outside of the workdir, and where what is not outside went. */
  outside(): string[] {
    return ["home/priv", "home/state", "home/r/other"].flatMap((dir) => contentOf(this.at(dir), dir));
  }
}

function contentOf(path: string, name: string): string[] {
  const facts = lstatSync(path);
  if (facts.isSymbolicLink()) return [`${name} -> ${readlinkSync(path)}`];
  if (!facts.isDirectory()) return [`${name}: ${readFileSync(path, "utf8")}`];
  return [
    `${name}/`,
    ...readdirSync(path)
      .toSorted()
      .flatMap((entry) => contentOf(join(path, entry), `${name}/${entry}`)),
  ];
}

/** What the other session's command can do to the workdir, as words for its shell. */
export const swaps = {
  "a link to the home's files": { command: "mv pk/sub pk/old && ln -s ../../priv pk/sub", says: "is no directory any more" },
  "a link to the daemon's state": { command: "mv pk/sub pk/old && ln -s ../../state pk/sub", says: "is no directory any more" },
  "a link in the place of a directory above": { command: "mv pk old && ln -s ../priv pk", says: "leads elsewhere by a link" },
  "another directory": { command: "mv pk/sub pk/old && mv other pk/sub", says: "is another directory by now" },
  nothing: { command: "mv pk/sub pk/old", says: "is no directory" },
} as const;

/** The same, done by this process in one step. */
export const swapped: Readonly<Record<string, (street: Street) => void>> = {
  "the workdir": (street) => exchange(street, { place: "home/r/pk/sub", target: "home/priv" }),
  "a directory above": (street) => exchange(street, { place: "home/r/pk", target: "home/priv" }),
  "the workdir, towards the state": (street) => exchange(street, { place: "home/r/pk/sub", target: "home/state" }),
  "a directory in it": (street) => exchange(street, { place: "home/r/pk/sub/deep", target: "home/priv/deep" }),
};

function exchange(street: Street, { place, target }: { place: string; target: string }): void {
  renameSync(street.at(place), street.at("home/r/old"));
  symlinkSync(street.at(target), street.at(place));
}

/** Undone. */
export function putBack(street: Street): void {
  rmSync(street.workdir, { recursive: true, force: true });
  renameSync(street.at("home/r/pk/old"), street.workdir);
}

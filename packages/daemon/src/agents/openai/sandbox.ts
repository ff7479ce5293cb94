import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access, realpath, stat } from "node:fs/promises";
import { userInfo } from "node:os";
import { delimiter, isAbsolute, join } from "node:path";
import { limits, type Sandbox } from "@sessiond/shared";
import type { Enclosure } from "../enclosure.ts";
import { markWords } from "../process-table.ts";
import { childEnvironment } from "./child-env.ts";
import { isInside } from "./paths.ts";
import { viewWords, type View } from "./sandbox-view.ts";
import { ToolError } from "./tools/tool.ts";

/**
 * Runs commands under bubblewrap, found on the daemon's PATH and tried with the words that commands
 * get. Where it cannot run there is a sentence that says why, and never a command without it.
 */
export interface SandboxOptions {
  /** What the daemon has for its tools. */
  readonly childEnv: Readonly<Record<string, string>>;
  readonly home: string;
  /** The daemon's directories. */
  readonly forbiddenDirs: readonly string[];
}

export interface Confined {
  /** Real path. */
  readonly workdir: string;
  readonly sandbox: Exclude<Sandbox, "off">;
  /** Scrubbed. */
  readonly env: Readonly<Record<string, string>>;
  readonly mark: string;
}

interface Bubblewrap {
  readonly path: string;
  /** Words that older versions do not know. */
  readonly newer: readonly string[];
}

const elsewise = "or start the session with the sandbox `off`";
const install = `install bubblewrap (Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap) where the daemon's PATH finds it, ${elsewise}`;
/** Name directories that are not there inside; programs do without. */
const leftOut = new Set(["TMPDIR", "XDG_RUNTIME_DIR"]);

export class SandboxMaker {
  readonly #options: SandboxOptions;
  readonly #homes: readonly string[];
  #found: Promise<Bubblewrap> | undefined;

  constructor(options: SandboxOptions) {
    this.#options = options;
    this.#homes = [...new Set([options.home, accountHome()])].filter(isAbsolute);
  }

  /** Null when commands can be run in a sandbox; else what is missing, and what to do. Once it could, it is not tried again. */
  async whyNot(): Promise<string | null> {
    return this.#bubblewrap().then(
      ({ path }) => this.#whyNotUse(path),
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    );
  }

  /** @throws ToolError when there is none; then nothing may be run */
  async enclosure({ workdir, sandbox, env, mark }: Confined): Promise<Enclosure> {
    const view = this.#view({ workdir, sandbox, env });
    const missing = await this.whyNot();
    if (missing !== null) throw new ToolError(`The command was not run, because its sandbox cannot be made: ${missing}.`);
    const { path, newer } = await this.#bubblewrap();
    if (isInside(await realpath(path), workdir))
      throw new ToolError(`The command was not run: ${path} lies in the working directory, where it could be anything.`);
    const given = Object.entries(env).filter(([name]) => !leftOut.has(name));
    return {
      words: [path, ...markWords, mark, ...view, ...newer, "--info-fd", "4", "--args", "3", "--"],
      fed: given.map(([name, value]) => `--setenv\0${name}\0${value}\0`).join(""),
    };
  }

  #view(of: Pick<View, "workdir" | "sandbox" | "env">): string[] {
    return viewWords({ ...of, homes: this.#homes, forbidden: this.#options.forbiddenDirs });
  }

  #bubblewrap(): Promise<Bubblewrap> {
    const found = (this.#found ??= this.#find());
    // What was installed or allowed meanwhile helps without another daemon.
    found.catch(() => this.#found === found && (this.#found = undefined));
    return found;
  }

  async #find(): Promise<Bubblewrap> {
    const env = childEnvironment(this.#options.childEnv, this.#options.forbiddenDirs);
    const candidates = (env["PATH"] ?? "")
      .split(delimiter)
      .filter(isAbsolute)
      .map((dir) => join(dir, "bwrap"));
    for (const path of candidates) {
      if ((await this.#whyNotUse(path)) !== null) continue;
      const words = this.#view({ workdir: "/usr", sandbox: "no_network", env });
      const without = await failure(path, words);
      if (without !== null) throw new Error(`bubblewrap does not work here (${path}: ${without}); allow user namespaces for it, ${elsewise}`);
      const newer = ["--disable-userns"];
      return { path, newer: (await failure(path, [...words, ...newer])) === null ? newer : [] };
    }
    throw new Error(`there is no bubblewrap (\`bwrap\`) here; ${install}`);
  }

  /** Who is to be confined must not be able to put another in its place. */
  async #whyNotUse(path: string): Promise<string | null> {
    try {
      await access(path, constants.X_OK);
      const facts = await stat(path);
      return facts.isFile() && facts.uid === 0 ? null : `${path} is not a program that belongs to root; ${install}`;
    } catch {
      return `there is no bubblewrap at ${path} any more; ${install}`;
    }
  }
}

/** Null when a command ran under it; else its last words. */
const failure = (path: string, words: readonly string[]): Promise<string | null> =>
  new Promise((resolve) =>
    execFile(path, [...words, "--", "/bin/sh", "-c", ":"], { env: {}, cwd: "/", timeout: limits.sandbox_try_ms, killSignal: "SIGKILL" }, (error, _out, said) =>
      resolve(error === null ? null : said.trim().split("\n").at(-1) || (error.killed ? "it gave no answer" : "it said nothing")),
    ),
  );

/** HOME may say something else than the system's list of accounts. */
function accountHome(): string {
  try {
    return userInfo().homedir;
  } catch {
    return "";
  }
}

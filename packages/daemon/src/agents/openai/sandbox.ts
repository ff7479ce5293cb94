import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, realpathSync } from "node:fs";
import { userInfo } from "node:os";
import { isAbsolute } from "node:path";
import { limits, type Sandbox } from "@sessiond/shared";
import { feed, type Enclosure } from "../enclosure.ts";
import { markWords } from "../process-table.ts";
import { isSystemProgram, systemProgram } from "../../system-program.ts";
import { childEnvironment } from "../child-env.ts";
import { HeldDirectory } from "./held-directory.ts";
import { isInside } from "./paths.ts";
import { sandboxFilter } from "./sandbox-filter.ts";
import { viewOf, type View, type Viewed } from "./sandbox-view.ts";
import { ToolError } from "./tools/tool.ts";

/**
 * Runs commands under bubblewrap, found among the system's programs and tried with the words that
 * commands get. Where it cannot run there is a sentence that says why, and never a command without it.
 */
export interface SandboxOptions {
  /** What the daemon has for its tools. */
  readonly childEnv: Readonly<Record<string, string>>;
  readonly home: string;
  /** The daemon's directories. */
  readonly forbiddenDirs: readonly string[];
  /** Keys that lie elsewhere. */
  readonly secretFiles?: readonly string[] | undefined;
  /** Where programs of the system are looked for. */
  readonly programDirs: readonly string[];
}

export interface Confined {
  readonly workdir: HeldDirectory;
  readonly sandbox: Exclude<Sandbox, "off">;
  /** Scrubbed. */
  readonly env: Readonly<Record<string, string>>;
  readonly mark: string;
}

export interface Sandboxed extends Enclosure {
  /** To be called once it is started, or will not be. */
  release(): Promise<void>;
}

interface Bubblewrap {
  readonly path: string;
  /** Words that older versions do not know. */
  readonly newer: readonly string[];
  readonly filter: Uint8Array;
}

const elsewise = "or start the session with the sandbox `off`";
const install = `install bubblewrap (Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap) for the whole system, ${elsewise}`;
/** It takes the rules for system calls from the descriptor that an enclosure feeds them to. */
const filtered = ["--seccomp", "5"];
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
  async enclosure({ workdir, sandbox, env, mark }: Confined): Promise<Sandboxed> {
    const { words, ...view } = await this.#view({ workdir, sandbox, env });
    try {
      const missing = await this.whyNot();
      if (missing !== null) throw new ToolError(`The command was not run, because its sandbox cannot be made: ${missing}.`);
      const { path, newer, filter } = await this.#bubblewrap();
      const isWithin = (each: string): boolean => existsSync(each) && (isInside(each, workdir.path) || isInside(realpathSync(each), workdir.path));
      const within = [path, ...this.#options.programDirs].find(isWithin);
      if (within !== undefined)
        throw new ToolError(`The command was not run: ${within} lies in the working directory, where a command could put anything in its place.`);
      const given = Object.entries(env).filter(([name]) => !leftOut.has(name));
      return {
        words: [path, ...markWords, mark, ...words, ...filtered, ...newer, "--info-fd", "4", "--args", "3", "--"],
        fed: given.map(([name, value]) => `--setenv\0${name}\0${value}\0`).join(""),
        filter,
        ...view,
      };
    } catch (error) {
      await view.release();
      throw error;
    }
  }

  #view(of: Pick<View, "workdir" | "sandbox" | "env">): Promise<Viewed> {
    return viewOf({ ...of, homes: this.#homes, forbidden: this.#options.forbiddenDirs, secretFiles: this.#options.secretFiles ?? [] });
  }

  #bubblewrap(): Promise<Bubblewrap> {
    const found = (this.#found ??= this.#find());
    // What was installed or allowed meanwhile helps without another daemon.
    found.catch(() => this.#found === found && (this.#found = undefined));
    return found;
  }

  async #find(): Promise<Bubblewrap> {
    const path = await systemProgram("bwrap", this.#options.programDirs);
    if (path === null) throw new Error(`there is no bubblewrap (\`bwrap\`) here that is root's; ${install}`);
    const filter = sandboxFilter(process.arch);
    if (filter === null) throw new Error(`which system calls a command may make is not known for this architecture (${process.arch}); ${elsewise}`);
    const env = childEnvironment(this.#options.childEnv, this.#options.forbiddenDirs);
    const workdir = await HeldDirectory.open(realpathSync("/usr"));
    const { words, descriptors, release } = await this.#view({ workdir, sandbox: "no_network", env });
    const newer = ["--disable-userns"];
    const tried = (more: readonly string[]): Promise<string | null> => failure([path, ...words, ...filtered, ...more], { filter, descriptors });
    const without = await tried([]);
    const isNewer = without === null && (await tried(newer)) === null;
    await Promise.all([workdir.close(), release()]);
    if (without?.includes("bind-fd") === true) throw new Error(`bubblewrap is too old here (${path} has no --bind-fd, as 0.10 has); ${install}`);
    if (without !== null) throw new Error(`bubblewrap does not work here (${path}: ${without}); allow user namespaces for it, ${elsewise}`);
    return { path, newer: isNewer ? newer : [], filter };
  }

  /** Who is to be confined must not be able to put another in its place. */
  async #whyNotUse(path: string): Promise<string | null> {
    if (await isSystemProgram(path)) return null;
    return existsSync(path) ? `${path} is not a program of root's alone; ${install}` : `there is no bubblewrap at ${path} any more; ${install}`;
  }
}

/** Null when a command ran under it, and said what it was to say; else its last words. What is no bubblewrap may end well and run nothing. */
function failure([path = "", ...words]: readonly string[], { filter, descriptors }: Pick<Enclosure, "filter" | "descriptors">): Promise<string | null> {
  const nonce = randomUUID();
  const options = { env: {}, cwd: "/", timeout: limits.sandbox_try_ms, killSignal: "SIGKILL" } as const;
  const stdio = ["ignore" as const, "pipe" as const, "pipe" as const, "ignore" as const, "ignore" as const, "pipe" as const, ...descriptors];
  const child = spawn(path, [...words, "--", "/bin/sh", "-c", 'printf %s "$0"', nonce], { ...options, stdio });
  feed(child, 5, filter);
  let [out, said] = ["", ""];
  child.stdout?.on("data", (piece: Buffer) => (out += piece.toString()));
  child.stderr?.on("data", (piece: Buffer) => (said += piece.toString()));
  return new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code) => {
      if (code === 0) resolve(out === nonce ? null : "it does not run what it is given");
      else resolve(said.trim().split("\n").at(-1) || (child.killed ? "it gave no answer" : "it said nothing"));
    });
  });
}

/** HOME may say something else than the system's list of accounts. */
function accountHome(): string {
  try {
    return userInfo().homedir;
  } catch {
    return "";
  }
}

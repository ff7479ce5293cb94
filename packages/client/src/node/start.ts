import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { limits, SessiondError } from "@sessiond/shared";
import { daemonPaths } from "./paths.ts";
import { whyNotStarted } from "./start-failure.ts";
import { StartTurn } from "./start-turn.ts";

/**
 * Connect-or-start. Any number of processes may start a daemon at once: a kernel lock in the
 * daemon lets one through and the others exit by themselves, so nothing is decided here; who takes
 * turns (start-turn.ts) only spares the machine.
 * A daemon that still drains may hold that lock; ours is then started again.
 */
export interface StartOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly bin?: string | undefined;
  readonly stateDir?: string | undefined;
  readonly runtimeDir?: string | undefined;
  /** What the daemon is told: one that a client started leaves by itself when idle. `client` unless given. */
  readonly startedBy?: "client" | "hand" | undefined;
  /** Where it listens on TCP, as its own argument says it; as its configuration says unless given. */
  readonly listen?: string | undefined;
}

/** Failed starts in a row, each with an exit code other than 0, after which it is the installation that fails. */
const failuresMax = 4;
const pollMs = { first: 5, most: 100 };

/**
 * @param answers  dials once; true when a daemon said hello
 * @throws SessiondError `daemon_unreachable` with the reason
 */
export async function startDaemon(options: StartOptions, answers: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
  const file = findDaemon(options);
  const { runtimeDir, stateDir } = daemonPaths(options.env, options);
  const turn = new StartTurn(runtimeDir);
  const since = Date.now();
  let child: ChildProcess | null = null;
  try {
    await untilAnswered(file, answers, {
      signal,
      start: () => (child = turn.take() ? spawnDaemon(file, options) : null),
      going: () => void turn.take(),
      why: () => whyNotStarted(stateDir, since) ?? "`sessiond up --foreground` shows why, and so does daemon.log in its state directory",
    });
  } finally {
    letGo(child);
    turn.leave();
  }
}

interface Starting {
  readonly signal: AbortSignal;
  /** Null when another client is about to. */
  start(): ChildProcess | null;
  /** Ours is on its way. */
  going(): void;
  /** A sentence for who asks why it failed. */
  why(): string;
}

async function untilAnswered(file: string, answers: () => Promise<boolean>, { signal, start, going, why }: Starting): Promise<void> {
  const deadline = performance.now() + limits.daemon_start_wait_ms;
  let child = start();
  let failures = 0;
  let pause = pollMs.first;
  while (!(await answers())) {
    if (signal.aborted) throw signal.reason;
    if (performance.now() > deadline) throw unreachable(`${file} was started and did not answer within ${limits.daemon_start_wait_ms} ms`);
    const exit = child === null ? null : exitOf(child);
    if (child !== null) going();
    if (exit !== null) {
      if (exit !== 0) failures++;
      if (failures >= failuresMax) throw unreachable(`${file} was started and ended with ${exit}: ${why()}`);
      pause = pollMs.most * 2 ** failures;
    }
    await sleep(pause, undefined, { signal }).catch(() => undefined);
    pause = Math.min(pollMs.most, pause * 2);
    if ((child === null || exit !== null) && !(await answers())) child = start();
  }
}

/**
 * The daemon's file: option, `SESSIOND_BIN`, the package beside this one, `sessiond` on PATH.
 *
 * @throws SessiondError `daemon_unreachable` with the install line
 */
function findDaemon({ bin, env }: Pick<StartOptions, "bin" | "env">): string {
  const named = bin ?? (env["SESSIOND_BIN"] || undefined);
  if (named !== undefined) {
    if (!existsSync(named)) throw unreachable(`${named} does not exist`);
    return daemonBeside(named);
  }
  const beside = [besideBundle(), packageBeside()].find((file) => file !== null && existsSync(file));
  // What lies on the PATH, a working directory perhaps, plays no part where there is one beside.
  const found = beside ?? onPath(env["PATH"]);
  if (found == null) throw unreachable("sessiond is not installed here: run `npm install -g sessiond`");
  return found;
}

/** The command and the daemon are bundles side by side; the command's name may be a link to its. */
function daemonBeside(file: string): string {
  let real: string;
  try {
    real = realpathSync(file);
  } catch {
    // Gone meanwhile; or the working directory that it is relative to has a name which is not UTF-8.
    throw unreachable(`${file} cannot be found`);
  }
  const sibling = join(dirname(real), "daemon.js");
  return existsSync(sibling) ? sibling : real;
}

/** This code may be bundled into the command itself. */
const besideBundle = (): string => fileURLToPath(new URL("./daemon.js", import.meta.url));

function packageBeside(): string | null {
  try {
    return join(dirname(createRequire(import.meta.url).resolve("sessiond/package.json")), "dist", "daemon.js");
  } catch {
    return null;
  }
}

function onPath(path: string | undefined): string | null {
  const command = (path ?? "")
    .split(delimiter)
    .filter(Boolean)
    .map((directory) => join(directory, "sessiond"))
    .find((file) => existsSync(file));
  return command === undefined ? null : daemonBeside(command);
}

/**
 * The daemon in the foreground. This process becomes it, and ends as it does: a parent would hold, for every tool to read
 * in /proc, the model's key that the daemon wipes of its own memory. A program of another kind, or with another
 * environment, is run as a child that has this terminal; what ends this process is passed on to it.
 *
 * @returns a child's exit code: 0 also when another daemon was there already
 * @throws SessiondError `daemon_unreachable` when there is no daemon to run
 */
export async function runDaemon(options: StartOptions): Promise<number> {
  const [command, args] = commandLine(findDaemon(options), { ...options, startedBy: "hand" });
  const [script] = args;
  if (command === process.execPath && script !== undefined && options.env === process.env) {
    process.argv.splice(1, process.argv.length, ...args);
    await import(pathToFileURL(script).href);
    return new Promise<never>(() => undefined);
  }
  const child = spawn(command, args, { stdio: "inherit", env: options.env });
  const passOn = (signal: NodeJS.Signals): void => void child.kill(signal);
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.on(signal, passOn);
  return new Promise((resolve, reject) => {
    child.once("error", (error) => reject(unreachable(`${command} could not be run: ${error.message}`)));
    child.once("exit", (code) => {
      for (const signal of signals) process.off(signal, passOn);
      resolve(code ?? 1);
    });
  });
}

/**
 * An entry of the daemon's bundle that looks after its files, as a child; it starts no daemon.
 *
 * @param words   the entry's name and what it takes
 * @param told    gets each line that it prints, the next one when it is done with that
 * @returns its exit code
 * @throws SessiondError `daemon_unreachable` when there is no bundle to run
 */
export async function runEntry(env: NodeJS.ProcessEnv, words: readonly string[], told: (line: string) => unknown): Promise<number> {
  const file = findDaemon({ env, bin: undefined });
  const script = /\.[cm]?js$/.test(file);
  // Where that is the command itself, under another name, it must not find itself again.
  const { SESSIOND_BIN: _found, ...rest } = env;
  const child = spawn(script ? process.execPath : file, [...(script ? [file] : []), ...words], { stdio: ["ignore", "pipe", "inherit"], env: rest });
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", (error) => reject(unreachable(`${file} could not be run: ${error.message}`)));
    child.once("close", (code) => resolve(code ?? 1));
  });
  const end = (): void => void child.kill();
  process.once("exit", end);
  const read = async (): Promise<void> => {
    for await (const line of createInterface({ input: child.stdout })) await told(line);
  };
  try {
    const [code] = await Promise.all([ended, read()]);
    return code;
  } finally {
    process.off("exit", end);
    end();
  }
}

function commandLine(file: string, { stateDir, runtimeDir, listen, startedBy = "client" }: StartOptions): [command: string, args: string[]] {
  const args = ["--started-by", startedBy];
  if (stateDir !== undefined) args.push("--state-dir", resolve(stateDir));
  if (runtimeDir !== undefined) args.push("--runtime-dir", resolve(runtimeDir));
  if (listen !== undefined) args.push("--listen", listen);
  return /\.[cm]?js$/.test(file) ? [process.execPath, [file, ...args]] : [file, args];
}

/**
 * Some who end this process end with it all that descends from it (acpx, process managers), in whatever group or session it
 * is. So a shell stands between: it ends as the daemon does, and is ended when there is nothing more to be known of that;
 * the daemon is nobody's descendant then.
 */
const between = "/bin/sh";

/** @returns what ends as the daemon does, and with its exit code */
function spawnDaemon(file: string, options: StartOptions): ChildProcess {
  const line = commandLine(file, options);
  const [command, args] = existsSync(between) ? [between, ["-c", '"$0" "$@" & wait $!', line[0], ...line[1]]] : line;
  const child = spawn(command, args, { detached: true, stdio: "ignore", env: options.env, cwd: "/" });
  // Without a listener a failed spawn would end this process; `exitOf` sees it.
  child.on("error", () => undefined);
  child.unref();
  return child;
}

/** Ends what stands between; where no shell is, the daemon stays this process' child. */
function letGo(child: ChildProcess | null): void {
  if (child?.spawnfile === between) child.kill("SIGKILL");
}

/** Null while it runs. A program that could not be run at all has no pid. */
const exitOf = ({ pid, exitCode, signalCode }: ChildProcess): number | string | null => (pid === undefined ? "no start" : (exitCode ?? signalCode));

const unreachable = (reason: string): SessiondError => new SessiondError("daemon_unreachable", { reason });

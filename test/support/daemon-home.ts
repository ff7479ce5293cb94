import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { connect, type ConnectOptions } from "@sessiond/client/node";
import type { Host } from "@sessiond/client";
import { systemProgramDirs } from "../../packages/daemon/src/system-program.ts";
import { isAlive, processesWith } from "./processes.ts";
import { eventually } from "./eventually.ts";

/**
 * A home of its own for real daemons: directories, environment, a project to work in, and all that can
 * be known from outside about the daemons and tools that run there. `close` ends every one of them.
 */
export const daemonFile = resolve(import.meta.dirname, "../../packages/cli/dist/daemon.js");

/** Mounts of its own need root, and a system that lets it. */
export const canBeWithout = (): boolean => spawnSync("unshare", ["--mount", "mount", "--bind", "/dev/null", process.execPath]).status === 0;

/** Words before a command for which these programs of the system are none. */
function hiding(programs: readonly string[]): string[] {
  const paths = programs.flatMap((name) => systemProgramDirs.map((dir) => join(dir, name))).filter(existsSync);
  const mounts = [...new Set(paths.map((path) => realpathSync(path)))].map((path) => `mount --bind /dev/null ${path} && `);
  return paths.length === 0 ? [] : ["unshare", "--mount", "--", "/bin/sh", "-c", `${mounts.join("")}exec "$0" "$@"`];
}

/** One line of a journal that is a frame, as text and parsed. */
export interface Line {
  readonly seq: number;
  readonly text: string;
  readonly event: { readonly type: string } & Readonly<Record<string, unknown>>;
}

export class DaemonHome {
  readonly root = realpathSync(mkdtempSync(join(tmpdir(), "ssp-")));
  /** All that a daemon, client or command of this home is started with. */
  readonly env: Record<string, string> = {
    HOME: join(this.root, "home"),
    XDG_STATE_HOME: join(this.root, "state"),
    XDG_RUNTIME_DIR: join(this.root, "run"),
    XDG_CONFIG_HOME: join(this.root, "config"),
    PATH: process.env["PATH"] ?? "/usr/bin:/bin",
  };
  readonly stateDir = join(this.root, "state", "sessiond");
  readonly runtimeDir = join(this.root, "run", "sessiond");
  readonly socket = join(this.runtimeDir, "sock");
  readonly workdir = join(this.root, "project");
  /** Programs that a daemon started by hand does not find on this machine; only where `canBeWithout()`. */
  without: readonly string[] = [];
  readonly #hosts: Host[] = [];

  /** @param config  text of config.toml; the practice model unless given */
  constructor(config = '[model]\nname = "practice"\n') {
    if (!existsSync(daemonFile)) throw new Error(`${daemonFile} is missing: run node scripts/build.mjs`);
    for (const dir of ["home", "run", "config/sessiond", "project"]) mkdirSync(join(this.root, dir), { recursive: true, mode: 0o700 });
    writeFileSync(join(this.root, "config/sessiond/config.toml"), config);
  }

  /** Start a daemon as a person would, in the foreground; resolves when it answers. */
  async startByHand(): Promise<ChildProcess> {
    const [file, ...args] = [...hiding(this.without), process.execPath, daemonFile];
    const child = spawn(file ?? "", args, { env: this.env, stdio: "ignore", cwd: "/" });
    await eventually("the daemon answers", async () => {
      if (child.exitCode !== null) throw new Error(`the daemon ended with ${child.exitCode}: ${this.logText()}`);
      const host = await this.connect({ autoStart: false }).catch(() => null);
      await host?.close();
      return host;
    });
    return child;
  }

  /** Likewise, and it tells what it holds at each SIGUSR2 (test/fixtures/measured.mjs). What preloads it is not for its clients. */
  async startMeasured(): Promise<ChildProcess> {
    const measured = { NODE_OPTIONS: `--import=${resolve(import.meta.dirname, "../fixtures/measured.mjs")}`, MEASURE_INTO: join(this.root, "measured") };
    Object.assign(this.env, measured);
    try {
      return await this.startByHand();
    } finally {
      for (const name of Object.keys(measured)) delete this.env[name];
    }
  }

  /** A client of this home; starts a daemon unless told otherwise. Closed with the home. */
  async connect(options: ConnectOptions = {}): Promise<Host> {
    const host = await connect({ env: this.env, bin: daemonFile, ...options });
    this.#hosts.push(host);
    return host;
  }

  /** Daemons of this home that live; a loser of the race for the lock counts until it has gone. What stands above one while it starts is none. */
  daemons(): number[] {
    return processesWith(`XDG_STATE_HOME=${join(this.root, "state")}`)
      .filter(({ command }) => command.includes(daemonFile) && !command.startsWith("/bin/sh -c "))
      .map(({ pid }) => pid);
  }

  /** The one daemon. */
  async daemon(): Promise<number> {
    return eventually("there is exactly one daemon", () => {
      const [pid, ...others] = this.daemons();
      return others.length === 0 ? pid : undefined;
    });
  }

  /** kill -9, and wait until it is gone. @param first  what is done in the same step, before */
  async kill(pid: number, first: () => void = () => undefined): Promise<void> {
    first();
    process.kill(pid, "SIGKILL");
    await this.gone(pid);
  }

  isAlive(pid: number): boolean {
    return isAlive(pid);
  }

  gone(pid: number): Promise<unknown> {
    return eventually(`process ${pid} is gone`, () => !isAlive(pid));
  }

  /** Processes that tools of this home have started and that still live. */
  tools(): number[] {
    const install = createHash("sha256").update(this.stateDir).digest("hex").slice(0, 16);
    return processesWith(`SESSIOND_MARK=${install}.`).map(({ pid }) => pid);
  }

  /** The newest segment: the one that grows. */
  journalPath(sessionId: string): string {
    return this.#segments(sessionId).at(-1) ?? join(this.stateDir, "sessions", sessionId, "journal");
  }

  /** All of a journal's lines, without the heads of its segments. */
  journalText(sessionId: string): string {
    return this.#segments(sessionId)
      .map((path) => readFileSync(path, "utf8").replace(/^\{"after":.*(\n|$)/, ""))
      .join("");
  }

  #segments(sessionId: string): string[] {
    const directory = join(this.stateDir, "sessions", sessionId);
    const names = readdirSync(directory).filter((name) => /^journal(-\d+)?$/.test(name));
    return names.toSorted((a, b) => Number(a.slice(8)) - Number(b.slice(8))).map((name) => join(directory, name));
  }

  /** Whole frames of a journal, in the order in which they lie there. */
  journal(sessionId: string): Line[] {
    const whole = this.journalText(sessionId).split("\n").slice(0, -1);
    return whole.flatMap((text) => {
      const line = JSON.parse(text) as { seq?: number; event?: Line["event"] };
      return line.seq === undefined || line.event === undefined ? [] : [{ seq: line.seq, text, event: line.event }];
    });
  }

  logText(): string {
    const path = join(this.stateDir, "daemon.log");
    return existsSync(path) ? readFileSync(path, "utf8") : "";
  }

  /** Lines of the daemon's log that say this. */
  logged(what: string): Record<string, unknown>[] {
    const lines = this.logText().split("\n").filter(Boolean);
    return lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter((line) => line["msg"] === what);
  }

  async close(): Promise<void> {
    // The daemons first, so that clients that are told goodbye start no other.
    await Promise.all(this.#hosts.map((host) => Promise.race([host.close(), new Promise((resolve) => setTimeout(resolve, 3_000))])));
    for (;;) {
      const left = [...this.daemons(), ...this.tools()];
      if (left.length === 0) break;
      for (const pid of left) if (isAlive(pid)) process.kill(pid, "SIGKILL");
      await Promise.all(left.map((pid) => this.gone(pid)));
    }
    rmSync(this.root, { recursive: true, force: true });
  }
}

// Where the demo plays: a copy of the tiny project and a home of its own in a temporary directory, and every
// process that was started there. Nothing of the reader's own sessiond is looked at or changed.
import { execFile, spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../..");
export const command = join(root, "packages/cli/dist/sessiond.js");
/** What is left for the directory: its socket's path must fit into a socket's address. */
const tmpCharsMax = 60;

export class Stage {
  home = realpathSync(mkdtempSync(join(tmpdir().length > tmpCharsMax ? "/tmp" : tmpdir(), "sessiond-demo-")));
  workdir = join(this.home, "tiny-project");
  stateDir = join(this.home, "state", "sessiond");
  socket = join(this.home, "run", "sessiond", "sock");
  env = {
    HOME: join(this.home, "home"),
    XDG_STATE_HOME: join(this.home, "state"),
    XDG_RUNTIME_DIR: join(this.home, "run"),
    XDG_CONFIG_HOME: join(this.home, "config"),
    PATH: process.env.PATH,
    NO_COLOR: "1",
  };
  #children = new Set();
  #daemons = new Set();

  constructor() {
    for (const name of ["home", "run"]) mkdirSync(join(this.home, name), { mode: 0o700 });
    // npm would look for a newer npm, which needs a network and clutters what the tests say.
    writeFileSync(join(this.home, "home", ".npmrc"), "update-notifier=false\n");
    cpSync(join(root, "examples/tiny-project"), this.workdir, { recursive: true });
  }

  /** A program in the project, as a process of its own. */
  start(file, args) {
    const child = spawn(file, args, { cwd: this.workdir, env: this.env, stdio: ["ignore", "pipe", "pipe"] });
    this.#children.add(child);
    child.once("exit", () => this.#children.delete(child));
    return child;
  }

  /** A script of Node's to its end: exit code and what it said. */
  run(script, args = []) {
    return new Promise((done) => {
      const child = execFile(process.execPath, [script, ...args], { cwd: this.workdir, env: this.env }, (error, stdout, stderr) => {
        this.#children.delete(child);
        done({ code: error === null ? 0 : error.code, stdout, stderr });
      });
      this.#children.add(child);
    });
  }

  /** A daemon is no child of ours for long: whoever finds none starts one. */
  knows(pid) {
    this.#daemons.add(pid);
  }

  forget(pid) {
    this.#daemons.delete(pid);
  }

  /** Frames as they lie on disk, one text each. */
  journal(sessionId) {
    const lines = readFileSync(join(this.stateDir, "sessions", sessionId, "journal"), "utf8")
      .split("\n")
      .slice(0, -1);
    return lines.filter((line) => "event" in JSON.parse(line));
  }

  /** Ends what still runs here and removes everything; without waiting, because it is also the last thing before an exit. */
  clear() {
    for (const child of this.#children) child.kill("SIGKILL");
    // Twice: a client that was killed late may have started a daemon.
    for (const pid of [...this.#daemons, ...processesOf(this.home), ...processesOf(this.home)]) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has gone already.
      }
    }
    // A process that is just ending may still write.
    rmSync(this.home, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  }
}

/** Whatever has this home in its environment. Where there is no /proc, the daemons that we know must do. */
function processesOf(home) {
  let pids = [];
  try {
    pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
  return pids.map(Number).filter((pid) => {
    try {
      return pid !== process.pid && readFileSync(`/proc/${pid}/environ`, "utf8").includes(`=${home}/`);
    } catch {
      return false;
    }
  });
}

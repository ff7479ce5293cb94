import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

/** A server's process: spawned in a folder of its own, waited for, ended. */
export class Program {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #spawnedAt: number;

  private constructor(child: ChildProcess, spawnedAt: number) {
    this.#child = child;
    this.#spawnedAt = spawnedAt;
    this.pid = child.pid ?? 0;
    const kill = (): void => void child.kill("SIGKILL");
    process.once("exit", kill);
    child.once("exit", () => process.off("exit", kill));
  }

  /** Resolves when `ready`, which is asked each millisecond. */
  static async start(
    words: readonly string[],
    { env, folder, ready }: { env: NodeJS.ProcessEnv; folder: Folder; ready: () => boolean | Promise<boolean> },
  ): Promise<Program> {
    const [file = "", ...args] = words;
    const log = openSync(folder.log, "w");
    const spawnedAt = performance.now();
    const child = spawn(file, args, { env, cwd: folder.project, stdio: ["ignore", log, log] });
    closeSync(log);
    const program = new Program(child, spawnedAt);
    while (!(await ready())) {
      if (child.exitCode !== null || program.sinceSpawn() > 60_000) throw new Error(`${file} does not answer: ${folder.logText().slice(-2_000)}`);
      await pause(1);
    }
    return program;
  }

  sinceSpawn(): number {
    return performance.now() - this.#spawnedAt;
  }

  /** As a service's manager would: asked, and after five seconds made to. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGTERM");
    const late = setTimeout(() => this.#child.kill("SIGKILL"), 5_000);
    await gone;
    clearTimeout(late);
  }
}

/** Directories of one home: nothing that a peer reads or writes lies elsewhere. */
export class Folder {
  readonly root = realpathSync(mkdtempSync(join(tmpdir(), "peer-")));
  readonly #atExit = (): void => this.remove();
  readonly project = this.dir("project");
  readonly log = join(this.root, "log");

  dir(name: string): string {
    const path = join(this.root, name);
    mkdirSync(path, { mode: 0o700 });
    return path;
  }

  write(name: string, text: string): void {
    const path = join(this.root, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }

  logText(): string {
    return readFileSync(this.log, "utf8");
  }

  constructor() {
    process.once("exit", this.#atExit);
  }

  remove(): void {
    process.off("exit", this.#atExit);
    rmSync(this.root, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

/** Whatever is not on this machine is asked for at the model's server, which refuses it. */
export function offline(model: string): Record<string, string> {
  const { origin } = new URL(model);
  const proxies = Object.fromEntries(["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"].map((name) => [name, origin]));
  return { ...proxies, NO_PROXY: "127.0.0.1,localhost", no_proxy: "127.0.0.1,localhost" };
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export function listensAt(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const answer = (listens: boolean) => (): void => {
      socket.destroy();
      resolve(listens);
    };
    socket.once("connect", answer(true)).once("error", answer(false));
  });
}

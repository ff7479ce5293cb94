import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, watch } from "node:fs";
import { dirname, join } from "node:path";
import { WebSocket } from "ws";
import { daemonFile, type DaemonHome } from "../test/support/daemon-home.ts";

/**
 * A daemon as a process of its own, the real one or the limit, alike in all that is not the daemon: started by the same
 * words, in no way a child of the bench but by its descent, and first spoken to by the same message.
 */
export interface Startable {
  readonly file: string;
  readonly words: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly socket: string;
}

export const real = (home: DaemonHome): Startable => ({ file: daemonFile, words: [], env: home.env, socket: home.socket });

export function limitIn(dir: string, home: DaemonHome): Startable {
  const place = mkdtempSync(join(home.root, "limit-"));
  const socket = join(place, "sock");
  return { file: join(dir, "bare-daemon.mjs"), words: [socket], env: home.env, socket };
}

export interface Running {
  readonly child: ChildProcess;
  /** From the start of its process to its answer to the first `hello`. */
  readonly ms: number;
}

export async function startOf({ file, words, env, socket }: Startable): Promise<Running> {
  // Of the one before, where that was killed.
  rmSync(socket, { force: true });
  mkdirSync(dirname(socket), { recursive: true, mode: 0o700 });
  let changed = (): void => undefined;
  // Told by the kernel, and not by looking again and again: that would take turns with what is measured.
  const watcher = watch(dirname(socket), () => changed());
  try {
    const begun = performance.now();
    const child = spawn(process.execPath, [file, ...words], { env: { ...env }, stdio: "ignore", cwd: "/" });
    for (;;) {
      const next = new Promise<void>((resolve) => (changed = resolve));
      if (await hello(socket)) return { child, ms: performance.now() - begun };
      if (child.exitCode !== null) throw new Error(`${file} ended with ${child.exitCode}`);
      await Promise.race([next, new Promise((resolve) => setTimeout(resolve, 20))]);
    }
  } finally {
    watcher.close();
  }
}

/** @returns false when nobody listens there */
function hello(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws+unix://${path}:/`, { perMessageDeflate: false });
    const params = { path: "hello", input: { protocol: { min: 1, max: 1_000 } } };
    socket.on("open", () => socket.send(JSON.stringify({ id: 1, jsonrpc: "2.0", method: "query", params })));
    socket.on("message", (text: Buffer) => {
      const { error } = JSON.parse(text.toString("utf8")) as { error?: object };
      socket.terminate();
      if (error === undefined) resolve(true);
      else reject(new Error(`hello was refused: ${JSON.stringify(error)}`));
    });
    socket.on("error", () => resolve(false));
  });
}

export async function endOf({ child }: Running): Promise<void> {
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  await gone;
}

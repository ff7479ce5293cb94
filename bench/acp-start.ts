import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { commandFile } from "../test/support/acp-client.ts";
import type { DaemonHome } from "../test/support/daemon-home.ts";
import { pairs } from "./pairs.ts";
import type { How, Row } from "./row.ts";

/**
 * An editor starts `sessiond acp` with every window: from the start of its process to its answer to `initialize`, and what
 * it holds when a session is open. The limit is Node, which answers the first line that comes and knows nothing.
 */
export async function acpStart({ short }: How, home: DaemonHome): Promise<Row[]> {
  const workdir = join(home.root, "edited");
  mkdirSync(workdir, { recursive: true });
  const editor: Side = { words: [commandFile, "acp"], home };
  const bare: Side = { words: ["-e", 'process.stdin.on("data", () => process.stdout.write("{}\\n"))'], home };
  const count = short ? 5 : 21;
  const started = await pairs(
    count,
    () => timed(editor),
    () => timed(bare),
  );
  const opened = ["session/new", { cwd: workdir, mcpServers: [] }] as const;
  const held = await pairs(
    short ? 2 : 5,
    () => resident(editor, opened),
    () => resident(bare, opened),
  );
  const { sessiond, limit, ratio, spread } = started;
  const mega = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
  return [
    { what: "start, sessiond acp to initialize", sessiond: `${sessiond.toFixed(0)} ms`, limit: `${limit.toFixed(0)} ms`, ratio, spread, bar: { atMost: 1.5 } },
    {
      what: "memory, RSS of sessiond acp, a session open",
      sessiond: mega(held.sessiond),
      limit: mega(held.limit),
      ratio: held.ratio,
      spread: held.spread,
      bar: { atMost: 1.5 },
    },
  ];
}

interface Side {
  readonly words: readonly string[];
  readonly home: DaemonHome;
}

class Asked {
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor({ words, home }: Side) {
    this.child = spawn(process.execPath, [...words], { env: home.env, cwd: "/", stdio: ["pipe", "pipe", "inherit"] });
    if (this.child.stdout === null) throw new Error("it has no stdout");
    this.#lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  async ask(method: string, params: object): Promise<void> {
    this.child.stdin?.write(`${JSON.stringify({ jsonrpc: "2.0", id: 1, method, params })}\n`);
    const { value } = await this.#lines.next();
    if (typeof value !== "string" || "error" in (JSON.parse(value) as object)) throw new Error(`${method}: ${String(value)}`);
  }

  async end(): Promise<void> {
    const exited = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.stdin?.end();
    await exited;
  }
}

async function timed(side: Side): Promise<number> {
  const begun = performance.now();
  const asked = new Asked(side);
  await asked.ask("initialize", { protocolVersion: 1 });
  const ms = performance.now() - begun;
  await asked.end();
  return ms;
}

async function resident(side: Side, [method, params]: readonly [string, object]): Promise<number> {
  const asked = new Asked(side);
  await asked.ask("initialize", { protocolVersion: 1 });
  await asked.ask(method, params);
  await new Promise((resolve) => setTimeout(resolve, 500));
  const kilobytes = Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${asked.child.pid}/status`, "utf8"))?.[1]);
  await asked.end();
  return kilobytes * 1024;
}

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Host, Session } from "@sessiond/client";
import { commandFile } from "../support/acp-client.ts";
import { DaemonHome } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";
import { processesWith } from "../support/processes.ts";
import { Acpx } from "./acpx.ts";
import { peersDir } from "./installed.ts";

/** acpx in front of `sessiond acp`, in a home of its own, and all that can be seen of it from beside. `await using` ends all of it. */
export class FrontHome implements AsyncDisposable {
  readonly home: DaemonHome;
  readonly acpx: Acpx;

  constructor({ config, flags = ["--model", "practice"] }: { readonly config?: string; readonly flags?: readonly string[] } = {}) {
    this.home = new DaemonHome(config);
    const command = [process.execPath, commandFile, "acp", ...flags].join(" ");
    this.acpx = new Acpx(command, { peersDir, cwd: this.home.workdir, env: this.home.env });
  }

  /** Processes of `sessiond acp`. */
  shims(): number[] {
    return this.#processes(`${process.execPath} ${commandFile} acp`);
  }

  /** Processes of acpx that keep a session's agent between its commands. They rename themselves to no more than this. */
  owners(): number[] {
    return this.#processes(`${peersDir}/`).filter((pid) => commandLine(pid).includes("__queue-owner"));
  }

  #processes(beginning: string): number[] {
    return processesWith(`XDG_STATE_HOME=${this.home.env["XDG_STATE_HOME"]}`)
      .filter(({ command }) => command.startsWith(beginning))
      .map(({ pid }) => pid);
  }

  /** Nothing that came with acpx is left, within its own bound. */
  shimsGone(withinMs = 5_000): Promise<unknown> {
    return eventually("no process of sessiond acp is left", () => this.shims().length === 0, withinMs);
  }

  toolRuns(): Promise<unknown> {
    return eventually("the tool runs", () => this.home.tools().length > 0);
  }

  /** Somebody else, who starts no daemon. */
  terminal(): Promise<Host> {
    return this.home.connect({ clientName: "terminal", autoStart: false });
  }

  async opened(sessionId: string): Promise<Session> {
    return (await this.terminal()).openSession(sessionId, { label: "terminal" });
  }

  async info(sessionId: string) {
    const host = await this.terminal();
    try {
      return await host.session(sessionId).info();
    } finally {
      await host.close();
    }
  }

  /** What was said in a session, by whom. */
  async said(sessionId: string): Promise<string[]> {
    const session = await this.opened(sessionId);
    const { messages } = (await session.attach({ as: "viewer" })).state;
    await session.close();
    return messages.flatMap((message) => (message.type === "user" || message.type === "agent" ? [`${message.type}: ${message.text.trim()}`] : []));
  }

  audit(): AuditLine[] {
    const text = readFileSync(join(this.home.stateDir, "audit.jsonl"), "utf8");
    return text
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as AuditLine);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.acpx[Symbol.asyncDispose]();
    for (const pid of [...this.owners(), ...this.shims()]) if (this.home.isAlive(pid)) process.kill(pid, "SIGKILL");
    await this.home.close();
  }
}

interface AuditLine {
  readonly verb: string;
  readonly outcome: string;
  readonly seat?: string;
  readonly token?: string;
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1");
  } catch {
    return "";
  }
}

/** The id that `sessions new` printed. */
export const idIn = (stdout: string): string => /ses_\w+/.exec(stdout)?.[0] ?? `no id in ${stdout}`;

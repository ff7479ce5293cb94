import { spawn, type ChildProcess } from "node:child_process";
import { newNode } from "./agents/agent.ts";
import type { Message } from "./conversation.ts";

/**
 * acpx, a command-line client of ACP, in front of any agent. With `exec` one process does all. With sessions, a
 * process of its own (the owner of the queue) keeps the agent running between commands, for `--ttl` seconds.
 */
export class Acpx implements AsyncDisposable {
  readonly #at: { readonly peersDir: string; readonly cwd: string; readonly env: Readonly<Record<string, string>> };
  readonly #agentCommand: string;
  readonly #running = new Set<ChildProcess>();
  /** Names of the sessions that it made; that of the folder alone has none. */
  readonly #sessions = new Set<string | undefined>();

  /**
   * @param agentCommand  program and words, as one string: acpx splits it like a shell, without being one
   * @param env           all of acpx' environment, which the agent has too; its records lie in `$HOME/.acpx`
   */
  constructor(agentCommand: string, at: { readonly peersDir: string; readonly cwd: string; readonly env: Readonly<Record<string, string>> }) {
    this.#agentCommand = agentCommand;
    this.#at = at;
  }

  /** Global options come before the command, those of the command after it. */
  run(...words: string[]): Promise<AcpxOutcome> {
    return this.begin(...words).outcome;
  }

  begin(...words: string[]): RunningAcpx {
    if (words.includes("sessions") && words.includes("new")) this.#sessions.add(words.includes("--name") ? words[words.indexOf("--name") + 1] : undefined);
    const { peersDir, cwd, env } = this.#at;
    const all = [`${peersDir}/node_modules/acpx/dist/cli.js`, "--agent", this.#agentCommand, "--ttl", "60", ...words];
    const child = spawn(newNode(peersDir), all, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
    this.#running.add(child);
    let [stdout, stderr] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text) => (stdout += String(text)));
    child.stderr.setEncoding("utf8").on("data", (text) => (stderr += String(text)));
    const outcome = new Promise<AcpxOutcome>((resolve) =>
      child.once("close", (code) => {
        this.#running.delete(child);
        resolve({ code, stdout, stderr });
      }),
    );
    const printed = (text: string): Promise<void> =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!stdout.includes(text)) return;
          child.stdout.off("data", look);
          resolve();
        };
        child.stdout.on("data", look);
        child.once("close", () => reject(new Error(`acpx ended without ${JSON.stringify(text)}: ${stdout}${stderr}`)));
        look();
      });
    return { outcome, printed, pid: child.pid ?? 0, end: (signal) => void child.kill(signal) };
  }

  /** Ends what it left running. */
  async [Symbol.asyncDispose](): Promise<void> {
    // Closing a session ends the owner of its queue, and that one the agent.
    for (const name of this.#sessions) await this.run("sessions", "close", ...(name === undefined ? [] : [name]));
    for (const child of this.#running) child.kill("SIGKILL");
  }
}

/** What is to be waited for: its standard output as it grows, and its end. */
export interface RunningAcpx {
  readonly pid: number;
  readonly outcome: Promise<AcpxOutcome>;
  printed(text: string): Promise<void>;
  end(signal: NodeJS.Signals): void;
}

export interface AcpxOutcome {
  /** 0 done (or cancelled), 4 no session, 5 a permission was refused, 130 interrupted. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What `--format json --json-strict` prints: the messages of the wire in both directions, without saying whose they are. */
export const messagesOf = ({ stdout }: AcpxOutcome): Message[] =>
  stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Message);

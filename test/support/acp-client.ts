import { spawn, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { join } from "node:path";
import { daemonFile } from "./daemon-home.ts";

/**
 * An ACP client written for the tests: it starts `sessiond acp` and speaks plain JSON lines, without a word of our own peer.
 * All that came is kept in order, updates and answers alike.
 */
export const commandFile = join(daemonFile, "../sessiond.js");

/** Anything that came as JSON, to be looked into. */
export type Json = ReturnType<typeof JSON.parse>;

export interface Came {
  readonly id?: number | string | null;
  readonly method?: string;
  readonly params?: Record<string, Json>;
  readonly result?: Json;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: { readonly code?: string } };
}

export interface ClientOptions {
  readonly env: Record<string, string>;
  readonly flags?: readonly string[];
  /** Answers `session/request_permission`: an option's kind, `cancelled`, or undefined to leave it open. */
  readonly permit?: (params: Record<string, Json>) => string | undefined;
}

export class AcpClient {
  readonly child: ChildProcess;
  readonly came: Came[] = [];
  /** Lines that are no JSON. */
  readonly noise: string[] = [];
  stderr = "";
  /** Methods of its own requests, by their ids. */
  readonly asked = new Map<number, string>();
  readonly exited: Promise<number | null>;
  #lastId = 0;
  #wakes: (() => void)[] = [];
  permit: ClientOptions["permit"];

  constructor({ env, flags = [], permit }: ClientOptions) {
    this.permit = permit;
    this.child = spawn(process.execPath, [commandFile, "acp", ...flags], { env, cwd: "/", stdio: ["pipe", "pipe", "pipe"] });
    this.exited = new Promise((resolve) => this.child.once("exit", (code) => resolve(code)));
    this.child.stderr?.on("data", (bytes: Buffer) => (this.stderr += bytes.toString()));
    this.child.stdin?.on("error", () => undefined);
    if (this.child.stdout !== null) createInterface({ input: this.child.stdout }).on("line", (line) => this.#line(line));
  }

  say(message: object): void {
    this.child.stdin?.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  }

  /** @returns the whole response */
  async ask(method: string, params: object = {}): Promise<Came> {
    const id = (this.#lastId += 1);
    this.asked.set(id, method);
    this.say({ id, method, params });
    return this.until(`the answer to ${method}`, (came) => (came.method === undefined && came.id === id ? came : undefined));
  }

  /** @returns the result. @throws Error with the answer where it is an error */
  async must(method: string, params: object = {}): Promise<Json> {
    const { result, error } = await this.ask(method, params);
    if (error !== undefined) throw new Error(`${method}: ${JSON.stringify(error)}`);
    return result;
  }

  tell(method: string, params: object): void {
    this.say({ method, params });
  }

  /** The first message that came, or comes, of which `find` makes something. */
  async until<T>(what: string, find: (came: Came) => T | undefined, from = 0): Promise<T> {
    const giveUp = Date.now() + 20_000;
    for (let at = from; ;) {
      for (; at < this.came.length; at++) {
        const found = find(this.came[at] as Came);
        if (found !== undefined) return found;
      }
      if (Date.now() > giveUp) throw new Error(`never came: ${what}\n${this.came.map((came) => JSON.stringify(came)).join("\n")}`);
      await new Promise<void>((resolve) => {
        this.#wakes.push(resolve);
        setTimeout(resolve, 500);
      });
    }
  }

  /** Updates of a session, or of all. */
  updates(sessionId?: string): Record<string, Json>[] {
    return this.came.flatMap(({ method, params }) =>
      method === "session/update" && (sessionId === undefined || params?.["sessionId"] === sessionId) ? [params?.["update"] as Record<string, Json>] : [],
    );
  }

  update(kind: string, from = 0): Promise<Record<string, Json>> {
    return this.until(
      `an update ${kind}`,
      ({ method, params }) => (method === "session/update" && params?.["update"].sessionUpdate === kind ? params["update"] : undefined),
      from,
    );
  }

  /** The agent's words so far. */
  text(kind = "agent_message_chunk"): string {
    return this.updates()
      .filter((update) => update["sessionUpdate"] === kind)
      .map((update) => update["content"].text ?? "")
      .join("");
  }

  /** Questions that came. */
  questions(): Came[] {
    return this.came.filter(({ method }) => method === "session/request_permission");
  }

  /** Answers one by the kind of an option. */
  answer({ id, params }: Came, kind: string): void {
    const option = params?.["options"].find((each: { kind: string }) => each.kind === kind);
    const outcome = kind === "cancelled" || option === undefined ? { outcome: "cancelled" } : { outcome: "selected", optionId: option.optionId };
    this.say({ id, result: { outcome } });
  }

  async initialize(name = "tester"): Promise<Json> {
    return this.must("initialize", { protocolVersion: 1, clientInfo: { name, version: "1.0" }, clientCapabilities: {} });
  }

  /** End of stdin; @returns the exit code */
  end(): Promise<number | null> {
    this.child.stdin?.end();
    return this.exited;
  }

  async kill(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill("SIGKILL");
    await this.exited;
  }

  #line(line: string): void {
    let came: Came;
    try {
      came = JSON.parse(line) as Came;
    } catch {
      this.noise.push(line);
      return;
    }
    this.came.push(came);
    if (came.method === "session/request_permission" && this.permit !== undefined) {
      const kind = this.permit(came.params ?? {});
      if (kind !== undefined) this.answer(came, kind);
    }
    for (const wake of this.#wakes.splice(0)) wake();
  }
}

/** A prompt in words. */
export const words = (sessionId: string, text: string): object => ({ sessionId, prompt: [{ type: "text", text }] });

import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import * as acp from "@agentclientprotocol/sdk";
import type { AcpAgent } from "./agents/agent.ts";
import { startMockModel, type MockModel } from "./mock-model.ts";

/** One message as it was on the wire. */
export interface Said {
  readonly from: "client" | "agent";
  readonly message: Message;
}

export interface Message {
  readonly id?: string | number | null;
  readonly method?: string;
  readonly params?: Record<string, unknown> & { readonly update?: Record<string, unknown> & { readonly sessionUpdate: string } };
  readonly result?: unknown;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: unknown };
}

/** What the one who is asked answers; not before it resolves. */
export type Answers = (request: acp.RequestPermissionRequest) => Promise<acp.RequestPermissionResponse> | acp.RequestPermissionResponse;

/** The first option of this kind; without one, cancelled. */
export const choose =
  (kind: acp.PermissionOptionKind): Answers =>
  ({ options }) => {
    const option = options.find((each) => each.kind === kind);
    return { outcome: option === undefined ? { outcome: "cancelled" } : { outcome: "selected", optionId: option.optionId } };
  };

export interface Place extends Disposable {
  readonly homeDir: string;
  /** Inside of the home, as a user's project is. */
  readonly workdir: string;
}

export function newPlace(): Place {
  const homeDir = realpathSync(mkdtempSync(join(tmpdir(), "acp-peer-")));
  const workdir = join(homeDir, "app");
  mkdirSync(workdir);
  return { homeDir, workdir, [Symbol.dispose]: () => rmSync(homeDir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }) };
}

/**
 * A real agent, the mock model behind it, and the SDK's client in front, which declares neither files nor terminals
 * (and answers that there is no such method, if it is asked). Everything that either says is kept in `said`. `await using` ends all of it.
 */
export class Conversation implements AsyncDisposable {
  readonly said: Said[] = [];
  readonly agent: acp.ClientContext;
  readonly model: MockModel;
  readonly place: Place;
  stderr = "";
  /** Replaced by tests; refuses until then. */
  answers: Answers = choose("reject_once");
  /** How the process ended. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  /** What an open permission is answered with when the turn is cancelled: settles in `cancel`. */
  readonly cancelled: Promise<acp.RequestPermissionResponse>;
  #cancel: () => void = () => undefined;
  readonly #child: ChildProcess;
  readonly #waiting = new Set<() => void>();
  readonly #keepsPlace: boolean;

  private constructor(child: ChildProcess, { model, place, keepsPlace }: { model: MockModel; place: Place; keepsPlace: boolean }) {
    this.#child = child;
    this.model = model;
    this.place = place;
    this.#keepsPlace = keepsPlace;
    this.cancelled = new Promise((resolve) => (this.#cancel = () => resolve({ outcome: { outcome: "cancelled" } })));
    child.stderr?.setEncoding("utf8").on("data", (text) => (this.stderr += String(text)));
    this.ended = new Promise((resolve) => child.once("exit", (code, signal) => resolve({ code, signal })));
    const { stdin, stdout } = child;
    if (stdin === null || stdout === null) throw new Error("no pipes");
    stdin.on("error", () => undefined);
    const stream = this.#tapped(acp.ndJsonStream(Writable.toWeb(stdin), Readable.toWeb(stdout) as ReadableStream<Uint8Array>));
    const app = acp.client({ name: "sessiond-test" }).onRequest("session/request_permission", ({ params }) => this.answers(params));
    app.onNotification("session/update", () => undefined);
    this.agent = app.connect(stream).agent;
  }

  /** @param place  of an earlier conversation, whose home is used again and stays */
  static async start(agent: AcpAgent, { peersDir, place }: { peersDir: string; place?: Place }): Promise<Conversation> {
    const model = await startMockModel();
    const at = place ?? newPlace();
    agent.prepare(at.homeDir, model.url);
    const child = spawn(agent.command(peersDir), agent.args(peersDir), {
      cwd: at.workdir,
      env: agent.env(model.url, at.homeDir, peersDir),
      stdio: ["pipe", "pipe", "pipe"],
      // What it starts is ended with it.
      detached: true,
    });
    return new Conversation(child, { model, place: at, keepsPlace: place !== undefined });
  }

  #tapped(stream: acp.Stream): acp.Stream {
    const tap = (from: Said["from"]): TransformStream<acp.AnyMessage, acp.AnyMessage> =>
      new TransformStream({
        transform: (message, controller) => {
          this.said.push({ from, message: structuredClone(message) as Message });
          controller.enqueue(message);
          for (const each of [...this.#waiting]) each();
        },
      });
    const outgoing = tap("client");
    void outgoing.readable.pipeTo(stream.writable).catch(() => undefined);
    return { readable: stream.readable.pipeThrough(tap("agent")), writable: outgoing.writable };
  }

  initialize(): Promise<acp.InitializeResponse> {
    const clientInfo = { name: "sessiond-test", version: "1.0.0" };
    const clientCapabilities = { fs: { readTextFile: false, writeTextFile: false }, terminal: false };
    return this.agent.request("initialize", { protocolVersion: acp.PROTOCOL_VERSION, clientInfo, clientCapabilities });
  }

  async newSession(): Promise<acp.NewSessionResponse> {
    await this.initialize();
    return this.agent.request("session/new", { cwd: this.place.workdir, mcpServers: [] });
  }

  prompt(sessionId: string, text: string): Promise<acp.PromptResponse> {
    return this.agent.request("session/prompt", { sessionId, prompt: [{ type: "text", text }] });
  }

  /** As sessiond does it: what is open is answered first. */
  async cancel(sessionId: string): Promise<void> {
    const open = this.#openRequests();
    this.#cancel();
    await this.#until(() => open.every((id) => this.said.some(({ from, message }) => from === "client" && message.id === id && message.method === undefined)));
    await this.agent.notify("session/cancel", { sessionId });
  }

  #openRequests(): Message["id"][] {
    const answered = new Set(this.said.flatMap(({ from, message }) => (from === "client" && message.method === undefined ? [message.id] : [])));
    return this.said.flatMap(({ from, message: { id, method } }) =>
      from === "agent" && method !== undefined && id !== undefined && !answered.has(id) ? [id] : [],
    );
  }

  /** The first message of the agent, said already or to come, that `isIt`. */
  async heard(isIt: (message: Message) => boolean): Promise<Message> {
    const found = (): Message | undefined => this.said.find(({ from, message }) => from === "agent" && isIt(message))?.message;
    await this.#until(() => found() !== undefined);
    return found() ?? {};
  }

  #until(isSo: () => boolean): Promise<void> {
    if (isSo()) return Promise.resolve();
    return new Promise((resolve) => {
      const look = (): void => {
        if (!isSo()) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
    });
  }

  get updates(): NonNullable<NonNullable<Message["params"]>["update"]>[] {
    return this.said.flatMap(({ message }) => (message.method === "session/update" && message.params?.update ? [message.params.update] : []));
  }

  /** All text of the agent's messages. */
  get text(): string {
    return this.updates.map((update) => (update.sessionUpdate === "agent_message_chunk" ? ((update["content"] as { text?: string }).text ?? "") : "")).join("");
  }

  endStdin(): void {
    this.#child.stdin?.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.pid !== undefined && this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#signalAll("SIGTERM");
      const late = setTimeout(() => this.#signalAll("SIGKILL"), 3_000);
      await this.ended;
      clearTimeout(late);
    }
    this.#signalAll("SIGKILL");
    await this.model.close();
    if (!this.#keepsPlace) this.place[Symbol.dispose]();
  }

  #signalAll(signal: NodeJS.Signals): void {
    try {
      if (this.#child.pid !== undefined) process.kill(-this.#child.pid, signal);
    } catch {
      // Nobody of them is left.
    }
  }
}

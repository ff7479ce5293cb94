import { connect } from "node:net";
import { join } from "node:path";
import WebSocket from "ws";
import type { Door, Peer, PeerHome, Served, Talk, Watch } from "./peer.ts";
import { Folder, listensAt, offline, Program } from "./program.ts";

/** `codex app-server`: JSON-RPC over a WebSocket on a unix socket; whoever resumes a running thread watches it. */
interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: { readonly threadId?: string; readonly delta?: string; readonly turn?: { readonly status: string; readonly error: unknown } };
  readonly result?: unknown;
  readonly error?: unknown;
}

export const codex = (binary: string, version: string): Peer => ({
  name: "codex",
  version,
  command: "codex app-server --listen unix://<path>",
  home: (model) => new Home(binary, model),
});

const config = (model: string): string => `model = "m"
model_provider = "bench"
approval_policy = "on-request"
sandbox_mode = "read-only"
check_for_update_on_startup = false
[analytics]
enabled = false
[features]
plugins = false
apps = false
[model_providers.bench]
name = "bench"
base_url = "${model}"
wire_api = "responses"
env_key = "BENCH_KEY"
`;

class Home implements PeerHome {
  readonly #folder = new Folder();
  readonly #binary: string;
  readonly #env: Record<string, string>;

  constructor(binary: string, model: string) {
    this.#binary = binary;
    const [HOME, CODEX_HOME] = [this.#folder.dir("home"), this.#folder.dir("codex")];
    this.#env = { ...offline(model), HOME, CODEX_HOME, BENCH_KEY: "k", PATH: process.env["PATH"] ?? "" };
    this.#folder.write("codex/config.toml", config(model));
  }

  async start(): Promise<Served> {
    const path = join(this.#folder.root, "sock");
    const program = await Program.start([this.#binary, "app-server", "--listen", `unix://${path}`], {
      env: this.#env,
      folder: this.#folder,
      ready: () => listensAt(path),
    });
    const link = await Link.open(path);
    const startMs = program.sinceSpawn();
    return {
      pid: program.pid,
      startMs,
      create: async () => {
        const { thread } = (await link.call("thread/start", { cwd: this.#folder.project })) as { thread: { id: string } };
        return talk(link, { peer: "codex", at: path, session: thread.id });
      },
      end: async () => {
        link.close();
        await program.end();
      },
    };
  }

  remove(): Promise<void> {
    this.#folder.remove();
    return Promise.resolve();
  }
}

function talk(link: Link, door: Door): Talk {
  const threadId = door.session;
  return {
    door,
    prompt: async (text) => {
      const ended = link.next(({ method, params }) => method === "turn/completed" && params?.threadId === threadId);
      await link.call("turn/start", { threadId, input: [{ type: "text", text, text_elements: [] }] });
      const { turn } = (await ended).params ?? {};
      if (turn?.status !== "completed") throw new Error(`codex: the turn ended ${turn?.status}: ${JSON.stringify(turn?.error)}`);
    },
    question: async () => {
      const { id } = await link.next(({ method, params }) => method === "item/commandExecution/requestApproval" && params?.threadId === threadId);
      // The protocol acknowledges it by an event; whoever answers waits for nothing.
      return { allow: () => Promise.resolve(link.send({ id, result: { decision: "accept" } })) };
    },
  };
}

export const watchCodex: Watch = async ({ at, session: threadId }: Door, viewers) => {
  const links = await Promise.all(
    viewers.map(async (told) => {
      const link = await Link.open(at);
      await link.call("thread/resume", { threadId, excludeTurns: true });
      link.heard.add(({ method, params }) => {
        if (method === "item/agentMessage/delta" && params?.threadId === threadId) told(params.delta ?? "");
      });
      return link;
    }),
  );
  return () => links.forEach((link) => link.close());
};

/** One client's connection, introduced. */
class Link {
  readonly heard = new Set<(message: Message) => void>();
  readonly #socket: WebSocket;
  #calls = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on("message", (data: Buffer) => {
      const message = JSON.parse(data.toString()) as Message;
      for (const each of this.heard) each(message);
    });
  }

  static async open(path: string): Promise<Link> {
    const socket = new WebSocket("ws://localhost/", { createConnection: () => connect(path), perMessageDeflate: false });
    await new Promise<void>((resolve, reject) => void socket.once("open", resolve).once("error", reject));
    const link = new Link(socket);
    await link.call("initialize", { clientInfo: { name: "bench", title: null, version: "1" }, capabilities: null });
    link.send({ method: "initialized" });
    return link;
  }

  send(message: object): void {
    this.#socket.send(JSON.stringify(message));
  }

  async call(method: string, params: object): Promise<unknown> {
    const id = ++this.#calls;
    const answered = this.next((message) => message.id === id && message.method === undefined);
    this.send({ id, method, params });
    const { result, error } = await answered;
    if (error !== undefined) throw new Error(`codex: ${method}: ${JSON.stringify(error)}`);
    return result;
  }

  next(isIt: (message: Message) => boolean): Promise<Message> {
    return new Promise((resolve) => {
      const hear = (message: Message): void => {
        if (!isIt(message)) return;
        this.heard.delete(hear);
        resolve(message);
      };
      this.heard.add(hear);
    });
  }

  close(): void {
    this.#socket.close();
  }
}

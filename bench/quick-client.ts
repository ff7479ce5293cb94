import { connect } from "node:net";
import { WebSocket } from "ws";

interface Reply {
  readonly id: number;
  readonly error?: { readonly message: string };
  readonly result?: { readonly type: "data" | "started" | "stopped"; readonly data?: unknown };
}

interface Waiting {
  data(value: unknown): void;
  failed(error: Error): void;
}

/**
 * Speaks to a limit as fast as that can be done: tRPC's lines over one socket, sent at once. The stock client waits a
 * timer tick before each call; a limit that is called by it would look slow for no reason of its own. What comes back
 * is taken for what it should be.
 */
export class QuickClient {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on("message", (data) => this.#received(JSON.parse(String(data)) as Reply));
    socket.on("close", () => {
      for (const { failed } of this.#waiting.values()) failed(new Error("the limit has closed the connection"));
    });
  }

  static async open(path: string): Promise<QuickClient> {
    const socket = new WebSocket("ws://localhost/", { createConnection: () => connect(path), perMessageDeflate: false });
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    return new QuickClient(socket);
  }

  call<T>(method: "query" | "mutation", path: string, input: unknown): Promise<T> {
    return new Promise((resolve, reject) => {
      const id = this.#send(method, { path, input }, { data: (value) => (this.#waiting.delete(id), resolve(value as T)), failed: reject });
    });
  }

  /** Resolves when the stream has begun. @param data  each value; tracked ones as `{id, data}` */
  subscribe<T>(path: string, input: unknown, data: (value: T) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#send("subscription", { path, input }, { data: (value) => (value === undefined ? resolve() : data(value as T)), failed: reject });
    });
  }

  close(): void {
    this.#waiting.clear();
    this.#socket.terminate();
  }

  #send(method: string, params: { readonly path: string; readonly input: unknown }, waiting: Waiting): number {
    const id = ++this.#lastId;
    this.#waiting.set(id, waiting);
    this.#socket.send(JSON.stringify({ id, method, params }));
    return id;
  }

  #received({ id, error, result }: Reply): void {
    const waiting = this.#waiting.get(id);
    if (error !== undefined) waiting?.failed(new Error(error.message));
    else if (result?.type !== "stopped") waiting?.data(result?.data);
  }
}

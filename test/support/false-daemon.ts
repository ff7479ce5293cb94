import { createServer, type IncomingMessage, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { protocol, version } from "@sessiond/shared";
import { WebSocketServer } from "ws";
import type { Certificate } from "./certificate.ts";

/** Who listens on TCP where a daemon is expected, is friendly, and writes down all that is said to it. */
export interface FalseOptions {
  readonly tls?: Certificate;
  /** Instead of a WebSocket: a status, and where it sends to. */
  readonly answers?: { readonly status: number; readonly location?: string };
  /** What its hello says. */
  readonly limits?: Readonly<Record<string, number>>;
  /** It takes what is said and answers nothing but hello. */
  readonly mute?: true;
  /** What else it answers, by verb: a list is what a stream brings. */
  readonly says?: Readonly<Record<string, unknown>>;
}

export class FalseDaemon {
  /** Request lines, headers and messages, in the order of their coming. */
  readonly heard: string[] = [];
  /** Whoever came, also those who turned round at the door. */
  connections = 0;
  readonly #server: Server;
  readonly #sockets: WebSocketServer;
  readonly #tls: boolean;

  private constructor({ tls, answers, limits = {}, mute, says = {} }: FalseOptions) {
    this.#tls = tls !== undefined;
    this.#server = tls === undefined ? createServer() : createTlsServer(tls);
    this.#sockets = new WebSocketServer({ noServer: true });
    this.#server.on("connection", () => this.connections++);
    this.#server.on("request", (request, response) => {
      this.#note(request);
      response.writeHead(404).end();
    });
    this.#server.on("upgrade", (request, socket, head) => {
      this.#note(request);
      if (answers !== undefined) {
        const location = answers.location === undefined ? "" : `Location: ${answers.location}\r\n`;
        socket.end(`HTTP/1.1 ${answers.status} So\r\n${location}Connection: close\r\n\r\n`);
        return;
      }
      this.#sockets.handleUpgrade(request, socket, head, (client) => {
        client.on("message", (data) => {
          const text = String(data);
          this.heard.push(text);
          if (text === "PING") return mute ? undefined : client.send("PONG");
          const { id, params } = JSON.parse(text) as { id: number; params?: { path: string } };
          const say = (message: object): void => client.send(JSON.stringify({ id, ...message }));
          if (params?.path === "hello") say({ result: { type: "data", data: { protocol: protocol.max, range: protocol, version, boot_id: "b", limits } } });
          else if (mute) return;
          else if (params !== undefined && says[params.path] !== undefined) {
            const told = says[params.path];
            if (Array.isArray(told)) say({ result: { type: "started" } });
            for (const data of Array.isArray(told) ? told : [told]) say({ result: { type: "data", data } });
          } else if (params?.path === "list_sessions") say({ result: { type: "data", data: { sessions: [], next: null } } });
          else if (params !== undefined) say({ error: { code: -32001, message: "no", data: { code: "unauthenticated", retry: "never", detail: {} } } });
        });
      });
    });
  }

  static async listen(options: FalseOptions = {}): Promise<FalseDaemon> {
    const made = new FalseDaemon(options);
    await new Promise<void>((resolve) => made.#server.listen(0, "127.0.0.1", resolve));
    return made;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `${this.#tls ? "wss" : "ws"}://127.0.0.1:${this.port}`;
  }

  /** Everything, as one text to search in. */
  get text(): string {
    return this.heard.join("\n");
  }

  /** What stood before the first message: where no credential has a place. */
  get doorstep(): string {
    return this.heard.filter((each) => !each.startsWith("{")).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#sockets.clients) client.terminate();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #note({ method, url, rawHeaders }: IncomingMessage): void {
    this.heard.push(`${method} ${url}\n${rawHeaders.join("\n")}`);
  }
}

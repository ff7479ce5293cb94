/**
 * A scripted daemon end of the wire, on a unix socket: for what a real daemon never does.
 * It answers `hello` and nothing else; a test takes each request in the order of its coming
 * and says what happens. Waiting is by events; nothing here sleeps.
 */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WebSocketServer, type WebSocket } from "ws";
import { emptyState, formatToken, limits, type AttachItem, type ErrorCode, type Frame, type SessionEvent, type SessionState } from "@sessiond/shared";

export const sessionId = `ses_${"A".repeat(22)}`;
export const seatId = `seat_${"B".repeat(22)}`;
export const turnId = `trn_${"T".repeat(22)}`;
export const token = formatToken("control", sessionId, "t".repeat(32));

/** What arrives one by one and is waited for one by one. */
export class Inbox<T> {
  readonly #items: T[] = [];
  readonly #takers: ((item: T) => void)[] = [];

  put(item: T): void {
    const taker = this.#takers.shift();
    if (taker === undefined) this.#items.push(item);
    else taker(item);
  }

  next(): Promise<T> {
    const item = this.#items.shift();
    return item === undefined ? new Promise((resolve) => this.#takers.push(resolve)) : Promise.resolve(item);
  }

  get size(): number {
    return this.#items.length;
  }
}

interface Wanted {
  readonly id: number;
  readonly method: string;
  readonly params: { readonly path: string; readonly input: Readonly<Record<string, unknown>> & { readonly auth?: Readonly<Record<string, string>> } };
}

export class PeerRequest {
  readonly peer: PeerSocket;
  readonly verb: string;
  readonly input: Wanted["params"]["input"];
  readonly #id: number;

  constructor(peer: PeerSocket, wanted: Wanted) {
    this.peer = peer;
    this.verb = wanted.params.path;
    this.input = wanted.params.input;
    this.#id = wanted.id;
  }

  answer(data: unknown): void {
    void this.peer.say({ id: this.#id, result: { type: "data", data } });
  }

  refuse(code: ErrorCode, detail: object = {}): void {
    void this.peer.say({ id: this.#id, error: { code: -32603, message: code, data: { code, retry: "never", detail } } });
  }

  /** As the stock server speaks of a path that its router has not. */
  refuseStock(code: string): void {
    void this.peer.say({ id: this.#id, error: { code: -32004, message: "No procedure", data: { code, httpStatus: 404 } } });
  }

  started(): void {
    void this.peer.say({ id: this.#id, result: { type: "started" } });
  }

  /** @returns when the system has taken it; `true` until then stays pending while the client does not read */
  item(item: AttachItem): Promise<void> {
    return this.peer.say({ id: this.#id, result: { type: "data", id: item.cursor, data: { id: item.cursor, data: item } } });
  }

  complete(): void {
    void this.peer.say({ id: this.#id, result: { type: "stopped" } });
  }
}

export class PeerSocket {
  readonly ws: WebSocket;
  readonly requests = new Inbox<PeerRequest>();
  readonly pings = new Inbox<null>();
  readonly closed: Promise<number>;

  constructor(ws: WebSocket) {
    this.ws = ws;
    this.closed = new Promise((resolve) => ws.on("close", resolve));
    ws.on("ping", () => this.pings.put(null));
  }

  say(message: object): Promise<void> {
    return new Promise((resolve) => this.ws.send(JSON.stringify(message), () => resolve()));
  }

  /** As a machine that vanished. */
  drop(): void {
    this.ws.terminate();
  }
}

export interface PeerOptions {
  readonly limits?: Partial<Record<string, number>>;
  readonly protocol?: number;
  /** False: as a peer that has stopped, while its socket stays open. */
  readonly autoPong?: boolean;
  readonly dir?: string;
}

export class WirePeer {
  readonly dir: string;
  readonly socket: string;
  /** Connections that said hello, in order. */
  readonly sockets = new Inbox<PeerSocket>();
  readonly #options: PeerOptions;
  #servers: { http: Server; ws: WebSocketServer } | null = null;
  #boot = 0;

  private constructor(options: PeerOptions) {
    this.#options = options;
    this.dir = options.dir ?? mkdtempSync(join(tmpdir(), "sessiond-peer-"));
    chmodSync(this.dir, 0o700);
    this.socket = join(this.dir, "sock");
  }

  static async listen(options: PeerOptions = {}): Promise<WirePeer> {
    const peer = new WirePeer(options);
    await peer.start();
    return peer;
  }

  /** Again after `stop`, as another daemon: with another boot id. */
  async start(): Promise<void> {
    this.#boot++;
    const http = createServer();
    const ws = new WebSocketServer({
      server: http,
      perMessageDeflate: false,
      autoPong: this.#options.autoPong ?? true,
      maxPayload: 2 * limits.request_bytes_max,
    });
    ws.on("connection", (socket) => this.#accept(new PeerSocket(socket)));
    this.#servers = { http, ws };
    await new Promise<void>((resolve) => http.listen(this.socket, resolve));
  }

  /** Ends every connection and the socket. */
  async stop(): Promise<void> {
    const servers = this.#servers;
    if (servers === null) return;
    this.#servers = null;
    for (const client of servers.ws.clients) client.terminate();
    servers.ws.close();
    await new Promise((resolve) => servers.http.close(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }

  #accept(peer: PeerSocket): void {
    peer.ws.on("message", (data) => {
      const wanted = JSON.parse(String(data)) as Wanted;
      if (wanted.method === "subscription.stop") return;
      if (wanted.params.path !== "hello") return peer.requests.put(new PeerRequest(peer, wanted));
      const protocol = this.#options.protocol ?? 1;
      const hello = {
        protocol,
        range: { min: protocol, max: protocol },
        version: "0.0.0",
        boot_id: `boot-${this.#boot}`,
        limits: { ...limits, ...this.#options.limits },
      };
      this.sockets.put(peer);
      return peer.say({ id: wanted.id, result: { type: "data", data: hello } });
    });
  }
}

/** A session's state as the peer tells it. */
export const stateAt = (seq: number, more: Partial<SessionState> = {}): SessionState => ({
  ...emptyState(sessionId),
  seq,
  life: 1,
  life_state: "live",
  workdir: "/w",
  ...more,
});

const seatFacts = (role: "driver" | "viewer") => ({ seat_id: seatId, role, label: "test", connected: true, since: 1 });

export const snapshotAt = (
  seq: number,
  { role = "driver", reset, state }: { role?: "driver" | "viewer"; reset?: "beyond_end"; state?: Partial<SessionState> } = {},
): AttachItem => ({
  type: "snapshot",
  cursor: `1:${seq}`,
  head: seq,
  seat: seatFacts(role),
  snapshot: stateAt(seq, state),
  ...(reset && { reset }),
});

export const resumedAt = (seq: number, role: "driver" | "viewer" = "driver"): AttachItem => ({
  type: "resumed",
  cursor: `1:${seq}`,
  head: seq,
  seat: seatFacts(role),
});

export const batchOf = (frames: Frame[]): AttachItem => {
  const last = frames.at(-1)?.seq ?? 0;
  return { type: "batch", cursor: `1:${last}`, head: last, frames };
};

export const frameOf = (seq: number, event: SessionEvent): Frame => ({ seq, at: seq, event });

/** Frames from..to, each a piece of one answer that spells its own number. */
export const chunks = (from: number, to: number, size = 0): Frame[] =>
  Array.from({ length: to - from + 1 }, (_, index) =>
    frameOf(from + index, {
      type: "agent_message_chunk",
      turn_id: turnId,
      message_id: "m",
      content: { type: "text", text: `${from + index} `.padEnd(size, ".") },
    }),
  );

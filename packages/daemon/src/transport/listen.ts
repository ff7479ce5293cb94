import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { getWSConnectionHandler } from "@trpc/server/adapters/ws";
import { WebSocketServer, type WebSocket } from "ws";
import type { Limits, SessiondError } from "@sessiond/shared";
import { afterAwake, type Clock } from "../clock.ts";
import type { Counters } from "../counters.ts";
import { mintBootId } from "../ids.ts";
import type { Peer } from "../gate.ts";
import type { buildRouter } from "../router.ts";
import type { Throttle } from "../throttle.ts";
import { frameEncoder } from "./encode.ts";
import { fullWords, retryAfter, type Entrance } from "./entrance.ts";
import { answer, asksForDoor, send, type MetricsSource } from "./http.ts";
import { Newcomers } from "./newcomers.ts";
import { OpenSockets, outflowOf, type Outflow } from "./open-sockets.ts";
import { PacedConnection } from "./pacing.ts";
import { unixEntrance } from "./unix.ts";

/**
 * The door: HTTP upgraded to WebSocket, spoken by tRPC. It has one entrance or two, the unix socket and TCP, each with
 * rules and limits of its own; behind them all is alike. Compression is never negotiated: it costs memory a
 * client, and can be made to leak what is compressed beside a secret.
 */
export interface DoorOptions extends MetricsSource {
  readonly router: ReturnType<typeof buildRouter>;
  readonly clock: Clock;
  readonly limits: Limits;
  readonly counters: Counters;
  /** @returns why nobody is let in from there for a while, or undefined */
  knock(peer: Peer): SessiondError | undefined;
  /** Of each message, before it is looked into. @returns why its connection is closed, or undefined */
  heard: Throttle["said"];
  /** Each time a connection comes or goes. */
  onChange(connections: number): void;
}

export interface Door {
  /** The unix socket's. */
  readonly server: Entrance["server"];
  readonly connections: number;
  readonly bytes: { readonly read: number; readonly written: number };
  /** People may come in there too. */
  add(entrance: Entrance): void;
  /** Take no more connections; close those there are, and cut what has not closed by `ms`. */
  close(ms: number): Promise<void>;
}

const goingAway = 1001;
const policyViolation = 1008;
/** There is no WebSocket that was not let in; if there were, the strictest of the gate's rules would hold for it. */
const nobody: Peer = { door: "tcp", name: "nobody" };

export function openDoor(options: DoorOptions): Door {
  const { limits, clock, counters } = options;
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: limits.request_bytes_max,
    perMessageDeflate: false,
    clientTracking: true,
    // Some send a token as one; it would come back in the answer.
    handleProtocols: () => false,
  });
  const handle = getWSConnectionHandler({
    wss: sockets,
    router: options.router,
    createContext: ({ req, res }) => ({
      connection: paced.get(res as WebSocket) ?? new PacedConnection(res as WebSocket, nobody, { ...options, outflow: outflowOf(req.socket) }),
    }),
    experimental_encoder: frameEncoder(mintBootId(), limits),
  });
  const paced = new WeakMap<WebSocket, PacedConnection>();
  const entrances: { readonly server: Entrance["server"]; readonly open: OpenSockets }[] = [];
  const unix = unixEntrance(limits, options);
  add(unix);

  function add(entrance: Entrance): void {
    const { server } = entrance;
    const open = new OpenSockets(server);
    entrances.push({ server, open });
    const newcomers = new Newcomers(entrance, options);
    const inside = new Set<WebSocket>();
    // The network may fail a connection while it is accepted; without a listener that would end the daemon.
    server.on("error", (error) => void (server.listening && options.report(error)));
    server.on("request", (request, response) => void page(entrance, request, response));
    // Node would close without a word.
    server.on("connect", (_request: IncomingMessage, socket: Duplex) => {
      socket.on("error", () => socket.destroy());
      refuse(socket, "405 Method Not Allowed");
    });
    server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      socket.on("error", () => socket.destroy());
      // Knocked before the door was closed: as if it had come after.
      if (!server.listening) return void socket.destroy();
      const reason = entrance.unwelcome(request);
      if (reason !== null) return refuse(socket, "403 Forbidden", reason);
      const full = entrance.crowded(request, "socket", inside.size);
      if (full !== null) return refuse(socket, `${full.status.slice(0, 3)} ${fullWords(full)}\r\nRetry-After: ${retryAfter}`, full.limit);
      const peer = entrance.peer(request);
      const tooOften = knocks(peer);
      if (tooOften !== null) return refuse(socket, `429 ${tooOften.words}\r\nRetry-After: ${tooOften.retryAfter}`, "rate_limited");
      if (!asksForDoor(request.url)) return refuse(socket, "404 Not Found");
      const below = open.below(request.socket);
      sockets.handleUpgrade(request, socket, head, (client) => {
        newcomers.admitted(below);
        inside.add(client);
        client.once("close", () => inside.delete(client));
        accept(client, request, peer, outflowOf(below));
      });
    });
  }

  function refuse(socket: Duplex, status: string, reason?: Parameters<Counters["turnAway"]>[0]): void {
    if (reason !== undefined) counters.turnAway(reason);
    // Node's HTTP leaves sockets half open: a peer that never closes its side would keep `close` waiting.
    socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`, () => socket.destroy());
  }

  async function page(entrance: Entrance, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const reason = entrance.unwelcome(request);
    if (reason !== null) {
      counters.turnAway(reason);
      return void response.writeHead(403, { connection: "close" }).end();
    }
    const full = entrance.crowded(request, "page", 0);
    const tooOften = full === null ? knocks(entrance.peer(request)) : null;
    if (tooOften !== null) {
      counters.turnAway("rate_limited");
      return send(response, { status: 429, body: `${tooOften.words}\n`, headers: { "retry-after": tooOften.retryAfter } });
    }
    if (full === null) return send(response, await answer(request, entrance.pages));
    counters.turnAway(full.limit);
    send(response, { status: Number(full.status.slice(0, 3)), body: `${fullWords(full)}\n`, headers: { "retry-after": retryAfter } });
  }

  function knocks(peer: Peer): { readonly words: string; readonly retryAfter: string } | null {
    const tooOften = options.knock(peer);
    if (tooOften === undefined) return null;
    const { limit, retry_after_ms: ms } = tooOften.detail;
    counters.throttle(String(limit));
    return { words: tooOften.message, retryAfter: String(Math.ceil(Number(ms) / 1_000)) };
  }

  function accept(client: WebSocket, request: IncomingMessage, peer: Peer, outflow: Outflow): void {
    const connection = new PacedConnection(client, peer, { ...options, outflow });
    paced.set(client, connection);
    const stopHello = clock.after(limits.hello_wait_ms, () => {
      client.close(policyViolation, "hello_wait_ms");
      client.terminate();
    });
    connection.onCall = stopHello;
    client.on("message", (data: Buffer) => {
      const tooOften = options.heard(connection, { bytes: data.length, call: !isKeepAlive(data) });
      if (tooOften !== undefined) counters.throttle(String(tooOften.detail["limit"]));
    });
    const stopBeat = keepAlive(client, connection, { ...options, outflow });
    client.once("close", () => {
      stopHello();
      stopBeat();
      options.onChange(sockets.clients.size);
    });
    options.onChange(sockets.clients.size);
    handle(client, request);
  }

  return {
    server: unix.server,
    add,
    get bytes() {
      return {
        read: entrances.reduce((sum, { open }) => sum + open.read, 0),
        written: entrances.reduce((sum, { open }) => sum + open.written, 0),
      };
    },
    get connections() {
      return sockets.clients.size;
    },
    async close(ms) {
      const closed = Promise.all(entrances.map(({ server }) => new Promise<void>((resolve) => server.close(() => resolve()))));
      // What was answered just now, such as `shut_down` itself, leaves before the goodbye.
      await new Promise((resolve) => setImmediate(resolve));
      for (const client of sockets.clients) client.close(goingAway, "shutting_down");
      const cut = clock.after(ms, () => {
        // Also those that never became a WebSocket: nobody times them any more.
        for (const { open } of entrances) open.cut();
      });
      await closed;
      cut();
    },
  };
}

/** The adapter's own words, which it answers or passes over by itself. */
const isKeepAlive = (data: Buffer): boolean => data.length === 4 && (data.equals(ping) || data.equals(pong));
const [ping, pong] = [Buffer.from("PING"), Buffer.from("PONG")];

/** A quiet peer is probed; one that answers nothing in time is gone, and its seats with it. */
function keepAlive(
  client: WebSocket,
  connection: PacedConnection,
  { clock, limits, outflow }: Pick<DoorOptions, "clock" | "limits"> & { readonly outflow: Outflow },
): () => void {
  let cancel = clock.after(limits.heartbeat_ms, probe);
  let probed = 0;
  let before = 0;
  const heard = () => {
    cancel();
    cancel = clock.after(limits.heartbeat_ms, probe);
  };
  function probe(): void {
    client.ping();
    probed = outflow.said();
    watch();
  }
  function missed(): void {
    const taken = outflow.taken();
    // The probe waits behind what was said before it, and that is on its way over a slow line.
    if (taken < probed && taken > before) return watch();
    if (!connection.full) return client.terminate();
    // Its peer takes nothing, and so has not seen the probe: that is the stall limit's to judge first.
    before = taken;
    cancel = clock.after(limits.stall_ms, () => (outflow.taken() > before ? watch() : client.terminate()));
  }
  function watch(): void {
    before = outflow.taken();
    cancel = afterAwake(clock, limits.heartbeat_wait_ms, missed);
  }
  client.on("pong", heard);
  client.on("message", heard);
  client.on("ping", heard);
  return () => cancel();
}

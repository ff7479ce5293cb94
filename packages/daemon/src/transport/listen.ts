import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { getWSConnectionHandler } from "@trpc/server/adapters/ws";
import { WebSocketServer, type WebSocket } from "ws";
import type { Limits } from "@sessiond/shared";
import { afterAwake, type Clock } from "../clock.ts";
import type { Counters } from "../counters.ts";
import { mintBootId } from "../ids.ts";
import type { buildRouter } from "../router.ts";
import { frameEncoder } from "./encode.ts";
import { answer, unwelcome, type Pages } from "./http.ts";
import { Newcomers } from "./newcomers.ts";
import { PacedConnection } from "./pacing.ts";
import { SocketBytes } from "./socket-bytes.ts";

/**
 * The door: HTTP on a unix socket, upgraded to WebSocket, spoken by tRPC; what is plain HTTP
 * is in http.ts. Compression is never negotiated: it costs memory a
 * client, and can be made to leak what is compressed beside a secret.
 */
export interface DoorOptions extends Pages {
  readonly router: ReturnType<typeof buildRouter>;
  readonly clock: Clock;
  readonly limits: Limits;
  readonly counters: Counters;
  /** Each time a connection comes or goes. */
  onChange(connections: number): void;
}

export interface Door {
  readonly server: Server;
  readonly connections: number;
  readonly bytes: { readonly read: number; readonly written: number };
  /** Take no more connections; close those there are, and cut what has not closed by `ms`. */
  close(ms: number): Promise<void>;
}

const goingAway = 1001;

export function openDoor(options: DoorOptions): Door {
  const { limits, clock, counters } = options;
  const sockets = new WebSocketServer({ noServer: true, maxPayload: limits.request_bytes_max, perMessageDeflate: false, clientTracking: true });
  const handle = getWSConnectionHandler({
    wss: sockets,
    router: options.router,
    createContext: ({ res }) => ({ connection: paced.get(res as WebSocket) ?? new PacedConnection(res as WebSocket, options) }),
    experimental_encoder: frameEncoder(mintBootId()),
    maxBatchSize: limits.calls_per_message_max,
  });
  const paced = new WeakMap<WebSocket, PacedConnection>();
  const server = createServer((request, response) => void plain(request, response));
  const bytes = new SocketBytes(server);
  const newcomers = new Newcomers(server, options);
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on("error", () => socket.destroy());
    // Knocked before the door was closed: as if it had come after.
    if (!server.listening) return void socket.destroy();
    const reason = unwelcome(request) ?? (sockets.clients.size >= limits.connections_max ? "connections_max" : null);
    if (reason !== null) {
      counters.turnAway(reason);
      // Node's HTTP leaves sockets half open: a peer that never closes its side would keep `close` waiting.
      socket.end(`HTTP/1.1 ${reason === "connections_max" ? full(limits) : "403 Forbidden"}\r\nConnection: close\r\n\r\n`, () => socket.destroy());
      return;
    }
    sockets.handleUpgrade(request, socket, head, (client) => {
      newcomers.admitted(socket);
      accept(client, request);
    });
  });

  function plain(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const reason = unwelcome(request);
    if (reason === null) return answer(request, response, options);
    counters.turnAway(reason);
    response.writeHead(403, { connection: "close" }).end();
    return Promise.resolve();
  }

  function accept(client: WebSocket, request: IncomingMessage): void {
    paced.set(client, new PacedConnection(client, options));
    const stopHello = clock.after(limits.hello_wait_ms, () => client.terminate());
    client.once("message", stopHello);
    const stopBeat = keepAlive(client, clock, limits);
    client.once("close", () => {
      stopHello();
      stopBeat();
      options.onChange(sockets.clients.size);
    });
    options.onChange(sockets.clients.size);
    handle(client, request);
  }

  return {
    server,
    bytes,
    get connections() {
      return sockets.clients.size;
    },
    async close(ms) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      // What was answered just now, such as `shut_down` itself, leaves before the goodbye.
      await new Promise((resolve) => setImmediate(resolve));
      for (const client of sockets.clients) client.close(goingAway, "shutting_down");
      const cut = clock.after(ms, () => {
        for (const client of sockets.clients) client.terminate();
        // Those that never became a WebSocket: nobody times them any more.
        server.closeAllConnections();
      });
      await closed;
      cut();
    },
  };
}

/** Nothing can be said yet but by the status line: which limit, and when to come again. */
const full = ({ connections_max }: Limits): string =>
  `503 limit connections_max reached (${connections_max} connections), try again in ${retryAfterMs} ms\r\nRetry-After: ${retryAfterMs / 1_000}`;
const retryAfterMs = 1_000;

/** A quiet peer is probed; one that answers nothing in time is gone, and its seats with it. */
function keepAlive(client: WebSocket, clock: Clock, limits: Limits): () => void {
  let cancel = clock.after(limits.heartbeat_ms, probe);
  const heard = () => {
    cancel();
    cancel = clock.after(limits.heartbeat_ms, probe);
  };
  function probe(): void {
    client.ping();
    cancel = afterAwake(clock, limits.heartbeat_wait_ms, missed);
  }
  function missed(): void {
    if (client.bufferedAmount <= limits.socket_buffer_bytes_max) return client.terminate();
    // Its peer takes nothing, and so has not seen the probe: that is the stall limit's to judge first.
    cancel = clock.after(limits.stall_ms, () => client.terminate());
  }
  client.on("pong", heard);
  client.on("message", heard);
  client.on("ping", heard);
  return () => cancel();
}

import { createServer, type IncomingMessage, type Server } from "node:http";
import type { Duplex } from "node:stream";
import { getWSConnectionHandler } from "@trpc/server/adapters/ws";
import { WebSocketServer, type WebSocket } from "ws";
import type { Limits } from "@sessiond/shared";
import type { Clock } from "../clock.ts";
import { mintBootId } from "../ids.ts";
import type { buildRouter } from "../router.ts";
import { frameEncoder } from "./encode.ts";
import { PacedConnection } from "./pacing.ts";

/**
 * The door: HTTP on a unix socket, upgraded to WebSocket, spoken by tRPC. `/healthz` alone is
 * open, and says only that the daemon is up. Compression is never negotiated: it costs memory a
 * client, and can be made to leak what is compressed beside a secret.
 */
export interface DoorOptions {
  readonly router: ReturnType<typeof buildRouter>;
  readonly clock: Clock;
  readonly limits: Limits;
  report(error: unknown): void;
  /** Each time a connection comes or goes. */
  onChange(connections: number): void;
}

export interface Door {
  readonly server: Server;
  readonly connections: number;
  /** Take no more connections; close those there are, and cut what has not closed by `ms`. */
  close(ms: number): Promise<void>;
}

const goingAway = 1001;

export function openDoor(options: DoorOptions): Door {
  const { limits, clock } = options;
  const sockets = new WebSocketServer({ noServer: true, maxPayload: limits.request_bytes_max, perMessageDeflate: false, clientTracking: true });
  const handle = getWSConnectionHandler({
    wss: sockets,
    router: options.router,
    createContext: ({ res }) => ({ connection: paced.get(res as WebSocket) ?? new PacedConnection(res as WebSocket, clock, limits) }),
    experimental_encoder: frameEncoder(mintBootId()),
    maxBatchSize: limits.calls_per_message_max,
  });
  const paced = new WeakMap<WebSocket, PacedConnection>();
  const server = createServer(answer);
  server.headersTimeout = limits.hello_wait_ms;
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on("error", () => socket.destroy());
    const refusal = refuse(request, sockets.clients.size, limits);
    if (refusal !== null) {
      // Node's HTTP leaves sockets half open: a peer that never closes its side would keep `close` waiting.
      socket.end(`HTTP/1.1 ${refusal}\r\nConnection: close\r\n\r\n`, () => socket.destroy());
      return;
    }
    sockets.handleUpgrade(request, socket, head, (client) => accept(client, request));
  });

  function accept(client: WebSocket, request: IncomingMessage): void {
    paced.set(client, new PacedConnection(client, clock, limits));
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

/** A line of HTTP that refuses the upgrade, or null. Browsers cannot reach a unix socket; a page's Origin here is a forwarded attack. */
function refuse(request: IncomingMessage, connections: number, limits: Limits): string | null {
  if (request.headers.origin !== undefined) return "403 Forbidden";
  if (connections >= limits.connections_max) return "503 Service Unavailable";
  return null;
}

function answer(request: IncomingMessage, response: { writeHead(status: number, headers: Record<string, string>): { end(body: string): unknown } }): void {
  const healthy = request.method === "GET" && request.url === "/healthz";
  response.writeHead(healthy ? 200 : 404, { "content-type": "text/plain", connection: "close" }).end(healthy ? "ok\n" : "not found\n");
}

/** A quiet peer is probed; one that answers nothing in time is gone, and its seats with it. */
function keepAlive(client: WebSocket, clock: Clock, limits: Limits): () => void {
  let cancel = clock.after(limits.heartbeat_ms, probe);
  const heard = () => {
    cancel();
    cancel = clock.after(limits.heartbeat_ms, probe);
  };
  function probe(): void {
    client.ping();
    cancel = clock.after(limits.heartbeat_wait_ms, missed);
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

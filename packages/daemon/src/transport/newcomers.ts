import type { Duplex } from "node:stream";
import type { Limits } from "@sessiond/shared";
import type { Clock } from "../clock.ts";
import type { Entrance } from "./entrance.ts";

/**
 * Connections that have not become a WebSocket: who says nothing, says half a request, or takes no answer. They cost a
 * descriptor each and are nobody's yet, so their time and their number are bounded here; a plain request has as long.
 */
export class Newcomers {
  /** What ends the wait for each, oldest first. */
  readonly #waiting = new Map<Duplex, () => void>();

  constructor({ server }: Entrance, { clock, limits }: { readonly clock: Clock; readonly limits: Limits }) {
    server.on("connection", (socket) => {
      this.#waiting.set(
        socket,
        clock.after(limits.hello_wait_ms, () => this.#cut(socket)),
      );
      socket.once("close", () => this.admitted(socket));
      const [oldest] = this.#waiting.keys();
      if (this.#waiting.size > limits.newcomers_max && oldest !== undefined) this.#cut(oldest);
    });
  }

  /** It is a WebSocket now, or gone: no longer one of these. */
  admitted(socket: Duplex): void {
    this.#waiting.get(socket)?.();
    this.#waiting.delete(socket);
  }

  #cut(socket: Duplex): void {
    this.admitted(socket);
    // Not waited for: what does not fit into the system's buffer is not heard either.
    if (socket.writable) socket.write("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n");
    socket.destroy();
  }
}

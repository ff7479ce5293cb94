import type { Server } from "node:http";
import type { Limits } from "@sessiond/shared";
import type { Counters, TurnedAway } from "../counters.ts";
import { peerName } from "./address.ts";
import type { Full } from "./entrance.ts";

/**
 * Who holds connections of the TCP door: every one that is open counts, whether or not it has become a WebSocket. The
 * unix socket has places of its own. A few beyond a limit are kept until they have been told so; further ones are cut.
 */
export class Crowd {
  readonly #limits: Limits;
  readonly #open = new Map<string, number>();
  #all = 0;

  constructor(server: Server, { limits, counters }: { readonly limits: Limits; readonly counters: Counters }) {
    this.#limits = limits;
    server.on("connection", (socket) => {
      const { remoteAddress } = socket;
      // Gone before it was let in.
      if (remoteAddress === undefined) return void socket.destroy();
      const name = peerName(remoteAddress);
      const beyond = this.#beyond(name, limits.refused_connections_max);
      if (beyond !== null) {
        counters.turnAway(beyond);
        return void socket.destroy();
      }
      this.#count(name, 1);
      socket.once("close", () => this.#count(name, -1));
    });
  }

  /** The limit that connections of this peer, or all of them, are beyond; one that asks is among them. */
  over(name: string): Full | null {
    const limit = this.#beyond(name, 1);
    if (limit === null) return null;
    return { status: limit === "connections_per_peer_max" ? "429 Too Many Requests" : "503 Service Unavailable", limit, value: this.#limits[limit] };
  }

  /** @param more  so many more than the limit allows */
  #beyond(name: string, more: number): Extract<TurnedAway, "tcp_connections_max" | "connections_per_peer_max"> | null {
    if ((this.#open.get(name) ?? 0) >= this.#limits.connections_per_peer_max + more) return "connections_per_peer_max";
    return this.#all >= this.#limits.tcp_connections_max + more ? "tcp_connections_max" : null;
  }

  #count(name: string, more: 1 | -1): void {
    this.#all += more;
    const count = (this.#open.get(name) ?? 0) + more;
    if (count === 0) this.#open.delete(name);
    else this.#open.set(name, count);
  }
}

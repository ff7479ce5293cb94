import { chmodSync, mkdirSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";

/** A socket in front of a daemon's. What is open when it goes deaf stays open, and no byte passes any more in either direction; who comes later passes. */
export class DeafRelay {
  /** A runtime directory whose socket is this one. */
  readonly runtimeDir: string;
  readonly #server: Server;
  readonly #open = new Set<Socket>();

  private constructor(runtimeDir: string, server: Server) {
    this.runtimeDir = runtimeDir;
    this.#server = server;
  }

  static async begin(runtimeDir: string, socket: string): Promise<DeafRelay> {
    mkdirSync(runtimeDir, { recursive: true, mode: 0o700 });
    const server = createServer();
    const relay = new DeafRelay(runtimeDir, server);
    server.on("connection", (near) => relay.#join(near, connect(socket)));
    await new Promise<void>((resolve) => server.listen(join(runtimeDir, "sock"), resolve));
    chmodSync(join(runtimeDir, "sock"), 0o600);
    return relay;
  }

  /** @returns how many connections are deaf now */
  goDeaf(): number {
    for (const socket of this.#open) {
      socket.unpipe();
      socket.removeAllListeners("end");
      socket.on("data", () => undefined);
    }
    return this.#open.size / 2;
  }

  async end(): Promise<void> {
    for (const socket of this.#open) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(near: Socket, far: Socket): void {
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#open.add(one);
      one.pipe(other);
      one.on("error", () => undefined);
      one.on("close", () => {
        this.#open.delete(one);
        other.destroy();
      });
    }
  }
}

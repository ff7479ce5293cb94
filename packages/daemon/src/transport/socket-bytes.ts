import type { Server } from "node:http";
import type { Socket } from "node:net";

/** Bytes that have passed a server's sockets, those that are open included. The sockets count; this adds them up. */
export class SocketBytes {
  readonly #open = new Set<Socket>();
  #read = 0;
  #written = 0;

  constructor(server: Server) {
    server.on("connection", (socket) => {
      this.#open.add(socket);
      socket.once("close", () => {
        this.#open.delete(socket);
        this.#read += socket.bytesRead;
        this.#written += socket.bytesWritten;
      });
    });
  }

  get read(): number {
    return [...this.#open].reduce((sum, socket) => sum + socket.bytesRead, this.#read);
  }

  get written(): number {
    return [...this.#open].reduce((sum, socket) => sum + socket.bytesWritten, this.#written);
  }
}

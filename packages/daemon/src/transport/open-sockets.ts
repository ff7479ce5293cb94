import type { Server } from "node:http";
import type { Socket } from "node:net";

/**
 * A server's sockets as the system has them, whatever they have become: what was sent, what of it was taken, and the
 * bytes that have passed through all there ever were.
 */
export class OpenSockets {
  readonly #open = new Set<Socket>();
  readonly #byEnds = new Map<string, Socket>();
  #read = 0;
  #written = 0;

  constructor(server: Server) {
    server.on("connection", (socket) => {
      const ends = endsOf(socket);
      this.#open.add(socket);
      this.#byEnds.set(ends, socket);
      socket.once("close", () => {
        this.#open.delete(socket);
        if (this.#byEnds.get(ends) === socket) this.#byEnds.delete(ends);
        this.#read += socket.bytesRead;
        this.#written += socket.bytesWritten;
      });
    });
  }

  /** The system's own socket under what speaks: TLS has one of its own above it. */
  below(socket: Socket): Socket {
    return this.#open.has(socket) ? socket : (this.#byEnds.get(endsOf(socket)) ?? socket);
  }

  get read(): number {
    return [...this.#open].reduce((sum, socket) => sum + socket.bytesRead, this.#read);
  }

  get written(): number {
    return [...this.#open].reduce((sum, socket) => sum + socket.bytesWritten, this.#written);
  }

  cut(): void {
    for (const socket of this.#open) socket.destroy();
  }
}

/** No two connections of a TCP server have the same. */
const endsOf = ({ localAddress, remoteAddress, remotePort }: Socket): string => `${localAddress} ${remoteAddress} ${remotePort}`;

/** Of what libuv keeps for a socket; Node judges its own timeouts by the same two. */
interface Handle {
  readonly bytesWritten: number;
  readonly writeQueueSize: number;
}

/** What was given to a socket, and how much of it the system has taken so far, in bytes. */
export interface Outflow {
  said(): number;
  taken(): number;
}

/**
 * Whether a message has left, Node tells only of the whole of it, and of all that waited behind it: for megabytes over
 * a slow line that is a minute of silence.
 */
export function outflowOf(socket: Socket): Outflow {
  const { _handle: handle } = socket as unknown as { readonly _handle?: Handle | null };
  return {
    said: () => socket.bytesWritten,
    taken: () => {
      const taken = handle == null ? Number.NaN : handle.bytesWritten - handle.writeQueueSize;
      // Should a later Node not have them: what has wholly left, which is less, and known to all.
      return Number.isFinite(taken) ? taken : socket.bytesWritten - socket.writableLength;
    },
  };
}

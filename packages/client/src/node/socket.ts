import { lstatSync } from "node:fs";
import { connect } from "node:net";
import { dirname } from "node:path";
import { limits, SessiondError } from "@sessiond/shared";
import { WebSocket, type ClientOptions } from "ws";
import type { Dial, Wire, WireListener } from "../wire.ts";

/**
 * A WebSocket over a unix socket. The URL names no path, because `ws+unix:` breaks on
 * spaces, `#`, `?` and `:` in one. Before a word is said the socket's directory is checked:
 * it is the access control, so a key must not be shown to whoever made another one.
 */
const snapshotBytesMax = 64 * 1024 * 1024;

class UnixWebSocket extends WebSocket {
  constructor(path: string) {
    const options: ClientOptions & { closeTimeout: number } = {
      createConnection: () => connect(path),
      perMessageDeflate: false,
      maxPayload: snapshotBytesMax,
      handshakeTimeout: limits.hello_wait_ms,
      // A half-open peer is noticed in half a second at close, not in thirty.
      closeTimeout: 500,
    };
    super("ws://localhost/", options);
  }
}

/** @returns a dialler of that socket */
export const unixSocket =
  (path: string): Dial =>
  (listener) => {
    checkPath(path);
    return new UnixWire(path, listener);
  };

/** @throws SessiondError `daemon_unreachable` with the reason */
export function checkPath(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes > limits.socket_path_bytes_max)
    throw unsafe(`the socket's path has ${bytes} bytes, more than ${limits.socket_path_bytes_max}: set XDG_RUNTIME_DIR to a shorter one`);
  const directory = dirname(path);
  const found = lstatSync(directory, { throwIfNoEntry: false });
  // Nothing there: the dial says so, and a daemon may be started.
  if (found === undefined) return;
  if (!found.isDirectory()) throw unsafe(`${directory} is not a directory`);
  if (found.uid !== process.getuid?.()) throw unsafe(`${directory} belongs to another user`);
  if ((found.mode & 0o077) !== 0) throw unsafe(`${directory} is open to others (mode ${(found.mode & 0o777).toString(8)}); run chmod 700 on it`);
}

const unsafe = (reason: string): SessiondError => new SessiondError("daemon_unreachable", { reason });

class UnixWire implements Wire {
  readonly #socket: UnixWebSocket;
  #probe: NodeJS.Timeout | undefined;
  /** Probes since the peer was last heard. Counted, not timed: a process that slept has missed nothing. */
  #unanswered = 0;

  constructor(path: string, listener: WireListener) {
    const socket = (this.#socket = new UnixWebSocket(path));
    let failure: NodeJS.ErrnoException | null = null;
    let open = false;
    const heard = (): void => {
      this.#unanswered = 0;
    };
    socket.on("open", () => {
      open = true;
      listener.opened();
    });
    socket.on("message", (data) => {
      heard();
      listener.received(String(data));
    });
    socket.on("ping", heard);
    socket.on("pong", heard);
    // `close` always follows, and ends the matter.
    socket.on("error", (error) => (failure ??= error));
    socket.on("unexpected-response", (_request, { statusCode, statusMessage }) => {
      failure = new Error(`the daemon takes no connection now: ${statusMessage || statusCode}`);
      socket.terminate();
    });
    socket.on("close", (code, reason) => {
      clearInterval(this.#probe);
      if (open) return listener.closed({ code, reason: String(reason) });
      const nobody = failure?.code === "ENOENT" || failure?.code === "ECONNREFUSED";
      listener.closed(nobody ? { reason: `nothing listens at ${path}`, nobody } : { reason: failure?.message ?? "the socket closed before it was open" });
    });
  }

  send(text: string): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(text);
  }

  close(): void {
    clearInterval(this.#probe);
    this.#socket.removeAllListeners("message");
    this.#socket.close(1000);
  }

  heartbeat(everyMs: number, waitMs: number): void {
    clearInterval(this.#probe);
    this.#unanswered = 0;
    const probeMs = Math.max(1, Math.min(everyMs, waitMs) / 2);
    this.#probe = setInterval(() => {
      if (++this.#unanswered * probeMs > everyMs + waitMs) return this.#socket.terminate();
      if (this.#socket.readyState === WebSocket.OPEN) this.#socket.ping();
    }, probeMs);
    this.#probe.unref();
  }
}

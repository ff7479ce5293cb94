import { limits } from "@sessiond/shared";
import { WebSocket, type ClientOptions } from "ws";
import { Heartbeat } from "../heartbeat.ts";
import type { Wire, WireEnd, WireListener } from "../wire.ts";

/** A WebSocket of `ws`, whatever it goes over: what is said, heard and probed, and how it ends. */
const snapshotBytesMax = 64 * 1024 * 1024;

/** Why a connection never began. */
export interface Unopened {
  readonly message: string;
  /** The system's word, or TLS's. */
  readonly code?: string | undefined;
  /** The answer was one of HTTP's. */
  readonly status?: number | undefined;
}

export interface SocketOptions {
  readonly url: string;
  /** As `Wire` has it. */
  readonly elsewhere?: boolean;
  /** How it is connected. */
  readonly over: ClientOptions;
  /** What a failure before it was open amounts to; null: the socket just closed. */
  readonly unopened: (failure: Unopened | null) => WireEnd;
}

export class SocketWire implements Wire {
  readonly elsewhere: boolean;
  readonly #socket: WebSocket;
  readonly #heartbeat: Heartbeat;

  constructor({ url, elsewhere = false, over, unopened }: SocketOptions, listener: WireListener) {
    this.elsewhere = elsewhere;
    const socket = (this.#socket = webSocket(url, over));
    let failure: Unopened | null = null;
    let open = false;
    // What the messages come over; a long one is heard while it is under way.
    let line: { readonly bytesRead: number } | null = null;
    const heartbeat = (this.#heartbeat = new Heartbeat({
      received: () => line?.bytesRead ?? 0,
      ask: () => socket.readyState === WebSocket.OPEN && socket.ping(),
      gone: () => socket.terminate(),
    }));
    const heard = (): void => heartbeat.heard();
    socket.on("upgrade", (response) => (line = response.socket));
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
      failure = { message: `the daemon takes no connection now: ${statusMessage || statusCode}`, status: statusCode };
      socket.terminate();
    });
    socket.on("close", (code, reason) => {
      heartbeat.stop();
      listener.closed(open ? { code, reason: String(reason) } : unopened(failure));
    });
  }

  send(text: string): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(text);
  }

  close(): void {
    this.#heartbeat.stop();
    this.#socket.removeAllListeners("message");
    this.#socket.close(1000);
  }

  heartbeat(everyMs: number, waitMs: number): void {
    this.#heartbeat.begin(everyMs, waitMs);
  }
}

function webSocket(url: string, over: ClientOptions): WebSocket {
  const options: ClientOptions & { closeTimeout: number } = {
    ...over,
    // Whoever answers from elsewhere is not whom the caller named.
    followRedirects: false,
    perMessageDeflate: false,
    maxPayload: snapshotBytesMax,
    handshakeTimeout: limits.hello_wait_ms,
    // A half-open peer is noticed in half a second at close, not in thirty.
    closeTimeout: 500,
  };
  return new WebSocket(url, options);
}

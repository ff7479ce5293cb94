import { SessiondError } from "@sessiond/shared";
import { daemonUrl } from "./daemon-url.ts";
import { Heartbeat } from "./heartbeat.ts";
import type { Dial, Wire, WireListener } from "./wire.ts";

/** The WebSocket of a page, as much of it as is used here. */
interface PageSocket {
  readonly readyState: number;
  onopen: (() => void) | null;
  onmessage: ((event: { readonly data: unknown }) => void) | null;
  onerror: (() => void) | null;
  onclose: ((event: { readonly code: number; readonly reason: string }) => void) | null;
  send(text: string): void;
  close(code?: number): void;
}

const open = 1;

/** A dialler over the page's own WebSocket. @throws SessiondError `unsupported` for an address that is none, or where there is no WebSocket */
export function webSocketDial(url: string): Dial {
  const address = daemonUrl(url);
  return (listener) => new PageWire(address, listener);
}

class PageWire implements Wire {
  readonly elsewhere = true;
  readonly #socket: PageSocket;
  readonly #listener: WireListener;
  /** A page sees no ping of the protocol, and can send none: it asks with the adapter's own word, and takes any answer. */
  readonly #heartbeat = new Heartbeat({
    ask: () => this.send("PING"),
    gone: () => {
      this.#ended({ reason: "the daemon says nothing any more" });
      this.#socket.close();
    },
  });
  #over = false;

  constructor(address: string, listener: WireListener) {
    const { WebSocket } = globalThis as unknown as { readonly WebSocket?: new (address: string) => PageSocket };
    if (WebSocket === undefined) throw new SessiondError("unsupported", { reason: "there is no WebSocket here; programs on Node use @sessiond/client/node" });
    this.#listener = listener;
    const socket = (this.#socket = new WebSocket(address));
    let opened = false;
    socket.onopen = () => {
      opened = true;
      listener.opened();
    };
    socket.onmessage = ({ data }) => {
      this.#heartbeat.heard();
      if (!this.#over && typeof data === "string") listener.received(data);
    };
    // `close` always follows; and a page is not told why nothing was opened.
    socket.onerror = () => undefined;
    socket.onclose = ({ code, reason }) => this.#ended(opened ? { code, reason } : { reason: `${address} could not be reached`, nobody: true });
  }

  send(text: string): void {
    if (this.#socket.readyState === open) this.#socket.send(text);
  }

  close(): void {
    this.#heartbeat.stop();
    this.#over = true;
    this.#socket.close(1000);
  }

  heartbeat(everyMs: number, waitMs: number): void {
    this.#heartbeat.begin(everyMs, waitMs);
  }

  /** Not when the socket says so: one whose peer is gone says it late. */
  #ended(end: Parameters<WireListener["closed"]>[0]): void {
    this.#heartbeat.stop();
    if (this.#over) return;
    this.#over = true;
    this.#listener.closed(end);
  }
}

/**
 * The seam to a WebSocket, as small as the library needs it. `node/socket.ts` fills it with
 * `ws` over a unix socket, `node/tcp.ts` over TCP, `page-socket.ts` with the WebSocket of a
 * page. Nothing outside those fillers knows which it is.
 */

/** How a connection ended, or why it never began. */
export interface WireEnd {
  /** The close code of RFC 6455; absent when no WebSocket was ever open. */
  readonly code?: number;
  /** The peer's closing word, or the system's; a code of the error table when the daemon says why. */
  readonly reason: string;
  /** Nothing listens at the address: a daemon may be started there. */
  readonly nobody?: boolean;
  /** Another try would end the same: a wrong certificate, a place that is no daemon's. */
  readonly hopeless?: boolean;
}

export interface WireListener {
  opened(): void;
  received(text: string): void;
  /** Once, and the last; also when the connection never opened. Not after `Wire.close`. */
  closed(end: WireEnd): void;
}

export interface Wire {
  /** Not this account's own on this machine: nobody can start a daemon there from here. */
  readonly elsewhere?: boolean;
  send(text: string): void;
  close(): void;
  /** From now on: probe a quiet peer every `everyMs`, give it up when it says nothing for `waitMs` more. */
  heartbeat(everyMs: number, waitMs: number): void;
}

/**
 * Begins a connection; never waits.
 *
 * @throws SessiondError `daemon_unreachable` when it must not even be tried (an unsafe directory, too long a path)
 */
export type Dial = (listener: WireListener) => Wire;

import { isSessiondError, SessiondError, type ProtocolRange } from "@sessiond/shared";
import { isNobody, linkLost } from "./exchange.ts";
import { Link, type Hello } from "./link.ts";
import type { Dial } from "./wire.ts";

/**
 * The way to one daemon, shared by everything that one handle opens: dials, says hello, and
 * starts a daemon where nobody listens.
 *
 * A daemon that said it is shutting down was told to go, so nothing here brings it back by
 * itself: until another one answers, `open` only dials, unless its caller insists. The same
 * after a start that failed, so that a broken installation is not started for ever.
 */
export interface DoorOptions {
  readonly dial: Dial;
  /** Starts a daemon and returns when `answers()` is true; absent: never start one. */
  readonly start?: ((answers: () => Promise<boolean>, signal: AbortSignal) => Promise<void>) | undefined;
  /** What is spoken; this build's range unless given. */
  readonly speaks?: ProtocolRange | undefined;
}

export interface OpenOptions {
  readonly signal: AbortSignal;
  /** Start a daemon even where the last one was told to go. */
  readonly insist?: boolean;
  /** Never start one for this. */
  readonly onlyDial?: boolean;
  /** The link ended, other than by its own `close`. */
  readonly ended?: (link: Link, error: SessiondError) => void;
}

export class Door {
  readonly #options: DoorOptions;
  readonly #closing = new AbortController();
  #starting: Promise<void> | null = null;
  #lastHello: Hello | null = null;
  #left: { readonly bootId: string | null } | null = null;

  constructor(options: DoorOptions) {
    this.#options = options;
  }

  /** What the daemon said last: its version, boot id and limits; null before the first connection. */
  get hello(): Hello | null {
    return this.#lastHello;
  }

  /** @throws SessiondError `daemon_unreachable`, `protocol_mismatch`, or the signal's reason */
  async open(options: OpenOptions): Promise<Link> {
    try {
      return await this.#dial(options);
    } catch (error) {
      if (!isNobody(error) || options.onlyDial === true || !(options.insist === true || this.#left === null)) throw error;
      if (this.#options.start === undefined) throw error;
    }
    await this.#start();
    return this.#dial(options).catch((error: unknown) => {
      // The one that answered is gone again: a link that broke, not a place where nobody ever was.
      throw isNobody(error) ? linkLost("the daemon that was started has ended again") : error;
    });
  }

  /** Tells the door how a connection or call ended, so that it knows a daemon that was told to go. */
  heard(error: SessiondError): void {
    if (isSessiondError(error, "shutting_down")) this.leaving();
  }

  /** The daemon was told to go, by us or in our hearing. */
  leaving(): void {
    this.#left = { bootId: this.#lastHello?.boot_id ?? null };
  }

  /** Ends a start under way. Links that were opened are their holders' to close. */
  close(): void {
    this.#closing.abort(new SessiondError("cancelled"));
  }

  async #dial({ signal, ended }: OpenOptions): Promise<Link> {
    const link = await Link.open(this.#options.dial, {
      signal,
      speaks: this.#options.speaks,
      ended: (each, error) => {
        this.heard(error);
        ended?.(each, error);
      },
    });
    this.#lastHello = link.hello;
    if (this.#left !== null && this.#left.bootId !== link.hello.boot_id) this.#left = null;
    return link;
  }

  /** One start at a time, however many wait for it. */
  #start(): Promise<void> {
    this.#starting ??= (this.#options.start?.(() => this.#answers(), this.#closing.signal) ?? Promise.resolve())
      .catch((error: unknown) => {
        this.leaving();
        throw error;
      })
      .finally(() => {
        this.#starting = null;
      });
    return this.#starting;
  }

  async #answers(): Promise<boolean> {
    try {
      (await this.#dial({ signal: this.#closing.signal })).close();
      return true;
    } catch (error) {
      if (isSessiondError(error, "daemon_unreachable") || isSessiondError(error, "shutting_down")) return false;
      throw error;
    }
  }
}

import { SessiondError } from "@sessiond/shared";
import { isErrno } from "../disk.ts";
import type { TcpSettings } from "../tcp-settings.ts";
import { bracketed } from "./address.ts";
import type { Entrance } from "./entrance.ts";
import { listenTcp, type TcpEntrance, type TcpOptions } from "./tcp.ts";

/**
 * The place on TCP that the settings name, over the daemon's life: taken at the start, or as soon as the program that
 * has it is gone. Any account may take a port first, and must not keep the owner from the unix socket by it; whatever
 * else is wrong lies with the owner's settings, and ends the start.
 */
export class TcpPlace {
  readonly #settings: TcpSettings;
  readonly #options: TcpOptions & { add(entrance: Entrance): void };
  #entrance: TcpEntrance | null = null;
  /** Why it is not there yet. */
  #reason: string | null = null;
  #cancel = () => undefined as void;
  #closed = false;

  constructor(settings: TcpSettings, options: TcpOptions & { add(entrance: Entrance): void }) {
    this.#settings = settings;
    this.#options = options;
  }

  get facts(): TcpEntrance["facts"] | null {
    return this.#entrance?.facts ?? null;
  }

  problems(): { what: string; mend: string }[] {
    if (this.#reason === null) return this.#entrance?.problems() ?? [];
    const mend = "end that program (`ss -ltnp` names it), and this daemon takes the port by itself; or name another port under [tcp], and start it again";
    return [{ what: `it does not listen on TCP: ${this.#reason}`, mend }];
  }

  /** @throws SessiondError config_invalid, as `listenTcp`; not where another program has the port */
  async open(): Promise<void> {
    try {
      await this.#listen();
    } catch (error) {
      if (!isTaken(error)) throw error;
      this.#wait(error);
      this.#options.note("TCP port taken", { reason: this.#reason });
    }
  }

  /** Try no more, and stop looking after the certificate. What was opened is the door's to close. */
  close(): void {
    this.#closed = true;
    this.#cancel();
    this.#entrance?.close();
  }

  async #listen(): Promise<void> {
    const entrance = await listenTcp(this.#settings, this.#options);
    if (this.#closed) {
      entrance.close();
      return void entrance.server.close();
    }
    this.#reason = null;
    this.#entrance = entrance;
    this.#options.add(entrance);
  }

  #wait(error: unknown): void {
    const { address, port } = this.#settings;
    this.#reason = isTaken(error) ? `another program listens on ${bracketed(address)}:${port}` : wordsOf(error);
    if (!this.#closed) this.#cancel = this.#options.clock.after(this.#options.limits.tcp_retry_ms, () => void this.#again());
  }

  async #again(): Promise<void> {
    try {
      await this.#listen();
      if (!this.#closed) this.#options.note("listening on TCP", { tcp: this.facts });
    } catch (error) {
      this.#wait(error);
    }
  }
}

const isTaken = (error: unknown): boolean => error instanceof SessiondError && isErrno(error.cause, "EADDRINUSE");
const wordsOf = (error: unknown): string => (error instanceof SessiondError ? String(error.detail["reason"]) : String(error));

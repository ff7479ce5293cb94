import { isSessiondError, type Auth, type ServedItem, type SessiondError, type VerbInput } from "@sessiond/shared";
import type { Door } from "./door.ts";
import { isWorthRepeating } from "./host-key.ts";
import { KeptStream, type StreamWatcher } from "./kept-stream.ts";
import type { Call } from "./link.ts";

/** The stream of `serve_agent`. After a lost link the offer is made again; the turns of before have ended by then. */
export interface ServedWatcher extends StreamWatcher {
  item?(item: ServedItem): void;
}

export type Offer = VerbInput<"serve_agent">;

export class ServedStream extends KeptStream<"serve_agent", ServedWatcher> {
  readonly #offer: Offer;
  readonly #auth: Auth;
  /** What was shown on this connection. */
  #shown: string | undefined;

  constructor(door: Door, auth: Auth, offer: Offer) {
    super(door, "serve_agent");
    this.#auth = auth;
    this.#offer = offer;
  }

  protected override input(): Call<"serve_agent"> {
    this.#shown = this.#auth.host_key;
    return { ...this.#offer, auth: this.#auth };
  }

  /** Once it was made, the name is another's no longer than that program, or the daemon's knowledge of our lost link, lasts. */
  protected override isFinal(error: SessiondError): boolean {
    if (isWorthRepeating(error, this.#auth, this.#shown)) return false;
    return this.cursor === undefined || (super.isFinal(error) && !isSessiondError(error, "conflict"));
  }

  protected override take(item: ServedItem): void {
    this.tell((watcher) => watcher.item?.(item));
  }
}

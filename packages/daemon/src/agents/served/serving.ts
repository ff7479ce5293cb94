import { SessiondError, type Limits, type ServedItem, type VerbParsed } from "@sessiond/shared";
import type { ServedTurn } from "./served-turn.ts";

/**
 * One program that serves one agent, for as long as its stream lasts: what it was told and has not taken yet, and the
 * turns that it runs. Its end, however that comes, ends them all; nothing of it is taken up again.
 */
export type Offer = VerbParsed<"serve_agent">;

/** Who takes the items: the stream's client. */
export interface Taker {
  readonly signal: AbortSignal;
  /** Resolves when its socket has room. */
  ready(): Promise<void>;
}

type Untold<T extends ServedItem> = T extends ServedItem ? Omit<T, "cursor"> : never;

export class Serving {
  readonly offer: Offer;
  readonly turns = new Map<string, ServedTurn>();
  readonly #limits: Pick<Limits, "served_waiting_chars_max">;
  /** Once, and before its turns are told: from then on nobody finds it. */
  readonly #onEnd: () => void;
  #waiting: { readonly item: ServedItem; readonly chars: number }[] = [];
  #chars = 0;
  #told = 0;
  #end: SessiondError | null | undefined;
  #wake = (): void => undefined;

  constructor(offer: Offer, { limits, onEnd }: { limits: Pick<Limits, "served_waiting_chars_max">; onEnd: () => void }) {
    this.offer = offer;
    this.#limits = limits;
    this.#onEnd = onEnd;
  }

  tell(untold: Untold<ServedItem>): void {
    if (this.#end !== undefined) return;
    this.#told += 1;
    const item = { ...untold, cursor: `1:${this.#told}` } as ServedItem;
    const chars = JSON.stringify(item).length;
    this.#waiting.push({ item, chars });
    this.#chars += chars;
    if (this.#chars > this.#limits.served_waiting_chars_max)
      this.end(new SessiondError("slow_consumer", { reason: `left more than ${this.#limits.served_waiting_chars_max} characters waiting` }));
    this.#wake();
  }

  /** @param error  what its stream is told; null: it has gone by itself */
  end(error: SessiondError | null): void {
    if (this.#end !== undefined) return;
    this.#end = error;
    this.#waiting = [];
    this.#onEnd();
    for (const turn of this.turns.values()) turn.lose();
    this.#wake();
  }

  /** @throws SessiondError  what it was ended with, or the signal's reason where that is one */
  async *items({ signal, ready }: Taker): AsyncGenerator<ServedItem> {
    const wake = (): void => this.#wake();
    signal.addEventListener("abort", wake);
    try {
      while (!signal.aborted) {
        await ready();
        if (signal.aborted) break;
        if (this.#end !== undefined) {
          if (this.#end !== null) throw this.#end;
          return;
        }
        const next = this.#waiting.shift();
        if (next === undefined) await new Promise<void>((resolve) => (this.#wake = resolve));
        else {
          this.#chars -= next.chars;
          yield next.item;
        }
      }
      if (signal.reason instanceof SessiondError) throw signal.reason;
    } finally {
      signal.removeEventListener("abort", wake);
    }
  }
}

/** For who prompts it, and for what it was about. */
export const goneWords = (agent: string): string => `the program that serves the agent ${agent} has gone; start it again, then prompt again`;

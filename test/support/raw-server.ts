import type { Auth, ServedItem, ServedSaid, SessiondError, VerbInput, VerbOutput } from "@sessiond/shared";
import type { TestDaemon } from "../../packages/daemon/src/testing.ts";

/** A program that serves an agent by the verbs themselves, over the in-process link: it can say what the library never would. */
export class RawServer {
  readonly items: ServedItem[] = [];
  /** Undefined while it runs; null: completed; else what ended it. */
  end: SessiondError | null | undefined;
  readonly #daemon: TestDaemon;
  readonly #auth: Auth;
  readonly #link = new AbortController();
  readonly #numbers = new Map<string, number>();
  #woken: (() => void)[] = [];

  private constructor(daemon: TestDaemon, auth: Auth) {
    this.#daemon = daemon;
    this.#auth = auth;
  }

  /** @param reads  false: takes the first item, and nothing behind it. @throws what the offer is refused with */
  static async serve(
    daemon: TestDaemon,
    offer: VerbInput<"serve_agent">,
    { auth = { host_key: daemon.hostKey } as Auth, reads = true } = {},
  ): Promise<RawServer> {
    const server = new RawServer(daemon, auth);
    const stream = (await daemon.stream("serve_agent", offer, auth, server.#link.signal)) as AsyncIterable<[string, ServedItem]>;
    const items = stream[Symbol.asyncIterator]();
    const take = async (): Promise<boolean> => {
      try {
        const next = await items.next();
        if (next.done === true) server.end = null;
        else server.items.push(next.value[1]);
      } catch (error) {
        server.end = (error instanceof Error && error.cause instanceof Error ? error.cause : error) as SessiondError;
      }
      for (const wake of server.#woken.splice(0)) wake();
      return server.end === undefined;
    };
    await take();
    if (server.end !== undefined) throw server.end ?? new Error("the stream was over at once");
    const readOn = async (): Promise<void> => {
      while (await take());
    };
    let reading: Promise<void> | null = null;
    server.read = () => (reading ??= readOn());
    if (reads) void server.read();
    return server;
  }

  /** Goes on reading; resolves at the end. */
  read: () => Promise<void> = () => Promise.resolve();

  get servingId(): string {
    const [first] = this.items;
    return first?.type === "serving" ? first.serving_id : "";
  }

  async next<T extends ServedItem["type"]>(type: T, from = 0): Promise<Extract<ServedItem, { type: T }>> {
    for (;;) {
      const found = this.items.slice(from).find((item) => item.type === type);
      if (found !== undefined) return found as Extract<ServedItem, { type: T }>;
      if (this.end !== undefined) throw this.end ?? new Error("the stream is over");
      await new Promise<void>((resolve) => this.#woken.push(resolve));
    }
  }

  say(turnId: string, events: readonly ServedSaid[], over: Partial<VerbInput<"agent_event">> = {}): Promise<VerbOutput<"agent_event">> {
    const number = (this.#numbers.get(turnId) ?? 0) + 1;
    if (over.number === undefined) this.#numbers.set(turnId, number);
    return this.#daemon.call("agent_event", { serving_id: this.servingId, turn_id: turnId, number, events: [...events], ...over }, this.#auth);
  }

  close(): void {
    this.#link.abort();
  }
}

export const text = (words: string): ServedSaid => ({ type: "agent_message_chunk", message_id: "m", content: { type: "text", text: words } });
export const done: ServedSaid = { type: "turn_end", stop_reason: "end_turn" };

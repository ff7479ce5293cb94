import type { initTRPC } from "@trpc/server";
import type OpenAI from "openai";
import { z } from "zod";

/**
 * A model's stream to every subscriber, and nothing else: no journal, no state, no cursor. What came in one turn of the
 * event loop is one message, an array of events of the shape and the size that sessiond's frames have; tRPC encodes it
 * for each subscriber. The model is read no faster than the sockets take it: a relay that keeps 200 readers' megabytes
 * in memory would be no daemon.
 */
export interface RelayFrame {
  readonly seq: number;
  readonly at: number;
  readonly event:
    | { readonly type: "agent_message_chunk"; readonly turn_id: string; readonly message_id: string; readonly content: { readonly type: "text"; text: string } }
    | { readonly type: "turn_ended"; readonly turn_id: string };
}

export interface RelayPlace {
  readonly baseURL: string;
  /** Bytes that the sockets have not taken, all together. */
  unsent(): number;
}

const unsentMax = 16 * 1024 * 1024;
// As long as real ones.
const turn_id = "trn_0123456789ABCDEFGHIJab";
const message_id = "msg_0123456789ABCDEFGHIJab";

export const relayRouter = (trpc: ReturnType<typeof initTRPC.create>, place: RelayPlace) => {
  const relay = new Relay(place);
  return trpc.router({
    relay: trpc.router({
      prompt: trpc.procedure.input(z.object({ text: z.string() })).mutation(({ input }) => void relay.run(input.text)),
      events: trpc.procedure.subscription(({ signal }) => relay.read(signal)),
    }),
  });
};

/** What one subscriber has not been sent: batches, shared by all of them. */
interface Reader {
  readonly batches: (readonly RelayFrame[])[];
  wake(): void;
}

class Relay {
  readonly #place: RelayPlace;
  readonly #readers = new Set<Reader>();
  #client: Promise<OpenAI> | undefined;
  #turn: RelayFrame[] = [];
  #seq = 0;

  constructor(place: RelayPlace) {
    this.#place = place;
  }

  async run(text: string): Promise<void> {
    // Loaded at the first question, as by the daemon.
    this.#client ??= import("openai").then(({ default: Client }) => new Client({ apiKey: "k", baseURL: this.#place.baseURL, maxRetries: 0 }));
    const client = await this.#client;
    const chunks = await client.chat.completions.create({
      model: "m",
      messages: [{ role: "user", content: text }],
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const chunk of chunks) {
      const piece = chunk.choices[0]?.delta.content;
      if (piece) this.#say({ type: "agent_message_chunk", turn_id, message_id, content: { type: "text", text: piece } });
      // Once a turn of the event loop.
      if (this.#turn.length === 1 && this.#place.unsent() > unsentMax) await this.#taken();
    }
    this.#say({ type: "turn_ended", turn_id });
  }

  async *read(signal: AbortSignal | undefined): AsyncGenerator<readonly RelayFrame[]> {
    const reader: Reader = { batches: [], wake: () => undefined };
    this.#readers.add(reader);
    signal?.addEventListener("abort", () => reader.wake(), { once: true });
    try {
      while (signal?.aborted !== true) {
        const batch = reader.batches.shift();
        if (batch === undefined) await new Promise<void>((resolve) => (reader.wake = resolve));
        else yield batch;
      }
    } finally {
      this.#readers.delete(reader);
    }
  }

  #say(event: RelayFrame["event"]): void {
    if (this.#turn.length === 0) setImmediate(() => this.#flush());
    this.#turn.push({ seq: ++this.#seq, at: Date.now(), event });
  }

  #flush(): void {
    const batch = this.#turn;
    this.#turn = [];
    for (const reader of this.#readers) {
      reader.batches.push(batch);
      reader.wake();
    }
  }

  async #taken(): Promise<void> {
    while (this.#place.unsent() > unsentMax / 2) await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

import { limits } from "@sessiond/shared";
import type { AgentEvent, AgentSays } from "../agent.ts";

/**
 * What an agent has said in a turn and its session has not taken yet, in order. Chunks of text that
 * wait are given together. Whoever puts something in waits as long as there is much of it, and so the
 * agent's output is not read meanwhile: an agent that outruns the disk waits in its own pipe.
 */
type Text = Extract<AgentEvent, { type: "agent_message_chunk" | "agent_thought_chunk" }>;

export class Said {
  #waiting: { event: AgentEvent; chars: number }[] = [];
  #chars = 0;
  /** No more comes. */
  #ended = false;
  /** Nobody takes anything any more. */
  #over = false;
  #wake = (): void => undefined;
  #room: (() => void)[] = [];

  /** Nothing if there is room for more, else a promise of it. What is said after the end is dropped. */
  put(event: AgentEvent): void | Promise<void> {
    if (this.#over) return;
    const chars = isText(event) ? event.content.text.length : 0;
    this.#waiting.push({ event, chars });
    this.#chars += chars;
    this.#wake();
    if (isText(event) && this.#chars < limits.agent_said_chars_max) return;
    return this.taken();
  }

  /** Resolves when all that was said so far is applied, or nobody takes it any more. */
  taken(): Promise<void> {
    if (this.#over) return Promise.resolve();
    return new Promise((resolve) => {
      this.#room.push(resolve);
      // Where nothing waits, who takes it has come back already.
      this.#wake();
    });
  }

  /** No more comes; what is there is still given. */
  end(): void {
    this.#ended = true;
    this.#wake();
  }

  /** Nobody takes it any more. */
  drop(): void {
    this.#over = true;
    this.#waiting = [];
    this.#free();
    this.#wake();
  }

  /** Until `end` and then all of it, or until `drop`. */
  async *[Symbol.asyncIterator](): AsyncGenerator<AgentSays, void, void> {
    try {
      while (!this.#over) {
        const next = this.#next();
        if (next !== null) {
          yield next;
          continue;
        }
        // Who came back for the next has applied all of them.
        this.#free();
        if (this.#ended) return;
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      this.drop();
    }
  }

  #next(): AgentSays | null {
    const texts: Text[] = [];
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      if (!isText(first.event) && texts.length > 0) break;
      this.#waiting.shift();
      this.#chars -= first.chars;
      if (!isText(first.event)) return first.event;
      texts.push(first.event);
    }
    return texts.length === 0 ? null : texts;
  }

  #free(): void {
    for (const resolve of this.#room.splice(0)) resolve();
  }
}

const isText = (event: AgentEvent): event is Text => event.type === "agent_message_chunk" || event.type === "agent_thought_chunk";

import type { Limits } from "@sessiond/shared";
import type OpenAI from "openai";
import { WholeEvents } from "./whole-events.ts";

/**
 * The events of a model's answer, in the groups in which they came: a step of a generator for each of them, as the client
 * takes them, costs several times what is in them. Read from the network's stream itself, as another stream between the
 * two would be steps of its own for each piece.
 */
export class AnswerEvents {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  readonly #whole: WholeEvents;
  readonly #decoder = new TextDecoder();
  #done = false;

  constructor({ body }: Response, limits: Limits) {
    this.#reader = body?.getReader();
    this.#whole = new WholeEvents(limits);
  }

  /** Data of the events that came together, one at least: a server that only comments says nothing. @returns null at the end of the stream. @throws AnswerTooLarge */
  async next(): Promise<readonly string[] | null> {
    for (;;) {
      const piece = (await this.#reader?.read())?.value;
      const whole = piece === undefined ? this.#whole.end() : this.#whole.take(piece);
      const events = this.#done || whole === null ? [] : dataOf(this.#decoder.decode(whole));
      const done = events.findIndex((data) => data.startsWith("[DONE]"));
      this.#done ||= done !== -1;
      const group = done === -1 ? events : events.slice(0, done);
      if (group.length > 0) return group;
      if (piece === undefined) return null;
    }
  }

  /** Ends the connection, if it has not ended. Never rejects. */
  async close(): Promise<void> {
    await this.#reader?.cancel().catch(() => undefined);
  }
}

/** What a server says instead of going on with an answer. */
class AnswerError extends Error {
  readonly code: string | null;

  /** @param error  mostly `{message, code}`; some servers say it in one word */
  constructor(error: unknown) {
    const { message, code } = (typeof error === "object" && error !== null ? error : {}) as { readonly message?: unknown; readonly code?: unknown };
    super(typeof message === "string" ? message : JSON.stringify(message ?? error));
    this.code = typeof code === "string" ? code : null;
  }
}

/** @throws AnswerError; SyntaxError for what is no JSON */
export function chunkOf(data: string): OpenAI.ChatCompletionChunk {
  const chunk = JSON.parse(data) as OpenAI.ChatCompletionChunk & { readonly error?: unknown };
  if (chunk.error) throw new AnswerError(chunk.error);
  return chunk;
}

const lineEnd = /\r\n|\n|\r/;

/** An empty line ends an event; one without data, and what is cut off, is none. */
function dataOf(text: string): string[] {
  const events: string[] = [];
  let data: string | null = null;
  // Behind the last end of a line is the beginning of the next one.
  for (const line of text.split(lineEnd).slice(0, -1)) {
    if (line.startsWith("data:")) {
      const value = line.slice(line.startsWith(" ", 5) ? 6 : 5);
      data = data === null ? value : `${data}\n${value}`;
    } else if (line === "" && data !== null) {
      events.push(data);
      data = null;
    }
  }
  return events;
}

import type { Limits } from "@sessiond/shared";
import type OpenAI from "openai";
import { AnswerTooLarge } from "./bounded-answer.ts";

/**
 * Puts the tool calls of one answer together from their pieces. Servers differ: an index may be
 * missing or the same for all, an id empty or repeated, a name sent with every piece.
 */
export interface WantedCall {
  readonly name: string;
  /** JSON as the model wrote it, or its start when it was too large. */
  readonly text: string;
  readonly tooLarge: boolean;
}

type Piece = OpenAI.ChatCompletionChunk.Choice.Delta.ToolCall;

interface Open {
  readonly id: string;
  name: string;
  text: string;
  bytes: number;
  tooLarge: boolean;
}

/** What is kept of arguments that are larger than allowed. */
const excerptChars = 2_000;

export class WantedCalls {
  readonly #calls: Open[] = [];
  /** The newest of each index. */
  readonly #byIndex = new Map<number, Open>();
  readonly #limits: Pick<Limits, "tool_input_bytes_max" | "model_calls_max">;

  constructor(limits: Pick<Limits, "tool_input_bytes_max" | "model_calls_max">) {
    this.#limits = limits;
  }

  /** Cost: that of the piece, however much came before it. @throws AnswerTooLarge */
  add(piece: Piece): void {
    const call = this.#callOf(piece);
    const name: unknown = piece.function?.name;
    if (call.name === "" && typeof name === "string") call.name = name;
    if (call.tooLarge) return;
    const text = piece.function?.arguments ?? "";
    call.text += text;
    call.bytes += Buffer.byteLength(text);
    if (call.bytes <= this.#limits.tool_input_bytes_max) return;
    call.tooLarge = true;
    call.text = call.text.slice(0, excerptChars);
  }

  all(): WantedCall[] {
    return this.#calls.map(({ name, text, tooLarge }) => ({ name, text, tooLarge }));
  }

  #callOf(piece: Piece): Open {
    const id = piece.id ?? "";
    const known: number | undefined = piece.index;
    const open = known === undefined ? this.#calls.at(-1) : this.#byIndex.get(known);
    const begins = open === undefined || (id !== "" && open.id !== "" && id !== open.id) || (known === undefined && id === "" && Boolean(piece.function?.name));
    if (!begins) return open;
    const { model_calls_max: most } = this.#limits;
    if (this.#calls.length >= most) throw new AnswerTooLarge(`more than ${most} tool calls in one answer`);
    const call: Open = { id, name: "", text: "", bytes: 0, tooLarge: false };
    this.#calls.push(call);
    if (known !== undefined) this.#byIndex.set(known, call);
    return call;
  }
}

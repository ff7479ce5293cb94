import type OpenAI from "openai";

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
  readonly index: number | undefined;
  readonly id: string;
  name: string;
  text: string;
  tooLarge: boolean;
}

/** What is kept of arguments that are larger than allowed. */
const excerptChars = 2_000;

export class WantedCalls {
  readonly #calls: Open[] = [];
  readonly #bytesMax: number;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  add(piece: Piece): void {
    const call = this.#callOf(piece);
    if (call.name === "") call.name = piece.function?.name ?? "";
    if (call.tooLarge) return;
    call.text += piece.function?.arguments ?? "";
    if (call.text.length > this.#bytesMax || (call.text.length * 3 > this.#bytesMax && Buffer.byteLength(call.text) > this.#bytesMax)) {
      call.tooLarge = true;
      call.text = call.text.slice(0, excerptChars);
    }
  }

  all(): WantedCall[] {
    return this.#calls.map(({ name, text, tooLarge }) => ({ name, text, tooLarge }));
  }

  #callOf(piece: Piece): Open {
    const id = piece.id ?? "";
    const known: number | undefined = piece.index;
    const open = known === undefined ? this.#calls.at(-1) : this.#calls.findLast((call) => call.index === known);
    const begins = open === undefined || (id !== "" && open.id !== "" && id !== open.id) || (known === undefined && id === "" && Boolean(piece.function?.name));
    if (!begins) return open;
    const call: Open = { index: known, id, name: "", text: "", tooLarge: false };
    this.#calls.push(call);
    return call;
  }
}

import { wordsOf, type ContentPart, type EventOf, type SessionEvent, type ToolStatus } from "@sessiond/shared";

/**
 * The conversation as an agent needs it, folded from a session's events: whole, in order,
 * without presence, questions or queue. Unlike SessionState it is not bounded; it lives only
 * in the daemon, and only while an agent needs it.
 */
export interface TranscriptCall {
  readonly id: string;
  readonly tool: string;
  readonly input: Record<string, unknown>;
  /** The model's own text, where it was not a JSON object. */
  readonly rawInput?: string;
  status: ToolStatus;
  /** Present once the status is final. */
  result?: string;
}

export type TranscriptEntry =
  | { readonly type: "user"; readonly promptId: string; readonly turnId: string; readonly parts: readonly ContentPart[] }
  | { readonly type: "assistant"; readonly messageId: string; readonly turnId: string; text: string; readonly calls: TranscriptCall[] };

type Assistant = Extract<TranscriptEntry, { type: "assistant" }>;

export class Transcript {
  readonly entries: TranscriptEntry[] = [];
  /** About how much it is: of texts, inputs and results. */
  chars = 0;
  readonly #waiting = new Map<string, readonly ContentPart[]>();

  fold(event: SessionEvent): void {
    switch (event.type) {
      case "prompt_accepted":
      case "prompt_edited":
        this.#waiting.set(event.prompt_id, event.parts);
        return;
      case "prompt_withdrawn":
      case "prompt_discarded":
        this.#waiting.delete(event.prompt_id);
        return;
      case "prompt_delivered": {
        const parts = this.#waiting.get(event.prompt_id);
        this.#waiting.delete(event.prompt_id);
        if (parts === undefined) return;
        this.entries.push({ type: "user", promptId: event.prompt_id, turnId: event.turn_id, parts });
        this.chars += wordsOf(parts).length;
        return;
      }
      case "agent_message_chunk":
        this.#assistant(event).text += event.content.text;
        this.chars += event.content.text.length;
        return;
      case "tool_call":
        this.#assistant(event).calls.push({
          id: event.tool_call_id,
          tool: event.tool,
          input: event.input,
          status: "pending",
          ...(event.raw_input !== undefined && { rawInput: event.raw_input }),
        });
        this.chars += JSON.stringify(event.input).length + (event.raw_input?.length ?? 0);
        return;
      case "tool_call_update": {
        const call = this.unfinished(event.turn_id).find((open) => open.id === event.tool_call_id);
        if (call === undefined) return;
        call.status = event.status;
        if (event.result !== undefined) call.result = event.result;
        this.chars += event.result?.length ?? 0;
        return;
      }
      default:
        return;
    }
  }

  /** Calls of the turn's newest step that have no final status. */
  unfinished(turnId: string): TranscriptCall[] {
    // What steered the turn may have come after it.
    const last = this.entries.findLast((entry) => entry.type === "assistant");
    if (last === undefined || last.turnId !== turnId) return [];
    return last.calls.filter((call) => call.status === "pending" || call.status === "in_progress");
  }

  #assistant(event: EventOf<"agent_message_chunk" | "tool_call">): Assistant {
    const last = this.entries.at(-1);
    if (last?.type === "assistant" && last.messageId === event.message_id) return last;
    const entry: Assistant = { type: "assistant", messageId: event.message_id, turnId: event.turn_id, text: "", calls: [] };
    this.entries.push(entry);
    return entry;
  }
}

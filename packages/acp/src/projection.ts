import type { ContentPart, Frame, SessionEvent } from "@sessiond/client";
import type { AcpContentBlock, AcpUpdate } from "@sessiond/shared/acp";
import { blockOf } from "./prompt-parts.ts";
import type { ToolCalls } from "./tool-calls.ts";

const said = (text: string): AcpContentBlock => ({ type: "text", text });
const chunk = (messageId: string, text: string): AcpUpdate => ({ sessionUpdate: "agent_message_chunk", messageId, content: said(text) });

/** Frames of a session as updates of ACP: the conversation. What stands beside it is in settings.ts. */
export class Projection {
  readonly calls: ToolCalls;
  /** Prompts that were accepted and not delivered yet; as many as a queue has. */
  readonly #parts = new Map<string, readonly ContentPart[]>();

  constructor(calls: ToolCalls) {
    this.calls = calls;
  }

  /** Of a session that is looked at from here on: what waits in its queue. */
  begin(queue: readonly { readonly prompt_id: string; readonly parts: readonly ContentPart[] }[]): void {
    for (const { prompt_id, parts } of queue) this.#parts.set(prompt_id, parts);
  }

  /** Also for events that are not shown: the words of a prompt come before it is known whether its turn is. */
  note(event: SessionEvent): void {
    if (event.type === "prompt_accepted" || event.type === "prompt_edited") this.#parts.set(event.prompt_id, event.parts);
    if (event.type === "prompt_withdrawn" || event.type === "prompt_discarded") this.#parts.delete(event.prompt_id);
  }

  delivered(promptId: string, shown: boolean): AcpUpdate[] {
    const parts = this.#parts.get(promptId) ?? [];
    this.#parts.delete(promptId);
    return shown ? parts.map((part) => ({ sessionUpdate: "user_message_chunk", messageId: promptId, content: blockOf(part) })) : [];
  }

  /** What happens in a turn, or is said to whoever reads along. */
  of({ event, seq }: Frame): AcpUpdate[] {
    switch (event.type) {
      case "agent_message_chunk":
        return [chunk(`${event.turn_id}/${event.message_id}`, event.content.text)];
      case "agent_thought_chunk":
        return [{ sessionUpdate: "agent_thought_chunk", messageId: `${event.turn_id}/${event.message_id}/thought`, content: said(event.content.text) }];
      case "tool_call":
      case "tool_call_chunk":
      case "tool_call_update":
      case "tool_call_changed":
        return this.calls.of(event);
      case "plan":
        return [{ sessionUpdate: "plan", entries: event.entries }];
      case "notice":
        return [chunk(`notice-${seq}`, event.text)];
      case "system_message":
        return [chunk(`notice-${seq}`, `${event.by.label}: ${event.text}`)];
      case "turn_ended":
        this.calls.turnEnded(event.turn_id);
        return event.stop_reason === "interrupted" ? [chunk(`notice-${seq}`, "The daemon was restarted, which interrupted this turn.")] : [];
      default:
        return [];
    }
  }

  /** In a replay there is no response that carries how a turn failed. */
  replayed(frame: Frame): AcpUpdate[] {
    const { event, seq } = frame;
    const updates = event.type === "prompt_delivered" ? this.delivered(event.prompt_id, true) : this.of(frame);
    return event.type === "turn_ended" && event.error !== undefined ? [...updates, chunk(`notice-${seq}`, event.error.message)] : updates;
  }
}

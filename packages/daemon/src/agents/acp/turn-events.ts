import { nestsAtMost, type Limits } from "@sessiond/shared";
import type { ReadSessionUpdate } from "@sessiond/shared/acp";
import type { AgentEvent } from "../agent.ts";
import { clip, pieces } from "../bounded.ts";
import { wordsOfBlock } from "./call-content.ts";
import { ToolCalls } from "./tool-calls.ts";

export type Update = ReadSessionUpdate["update"];

/**
 * What an agent tells of a turn, as our events: ids are made up where there are none, everything has its
 * bound, and what this version does not know is kept as it was said.
 */
export class TurnEvents {
  readonly calls: ToolCalls;
  readonly #limits: Limits;
  readonly #turnId: string;
  /** Of what is being said: the text goes on, or calls belong to it. */
  #message: { readonly id: string; readonly kind: string } | null = null;
  #made = 0;

  constructor(turnId: string, limits: Limits) {
    this.calls = new ToolCalls(limits);
    this.#limits = limits;
    this.#turnId = turnId;
  }

  /** @returns the events, in order; none for what belongs to no turn */
  of(update: Update): AgentEvent[] {
    if (!update.known) return this.#raw(update.raw);
    switch (update.sessionUpdate) {
      case "agent_message_chunk":
      case "agent_thought_chunk": {
        const message_id = this.#messageOf(update.sessionUpdate, update.messageId);
        const texts = pieces(wordsOfBlock(update.content), this.#limits.agent_said_chars_max);
        return texts.map((text) => ({ type: update.sessionUpdate, message_id, content: { type: "text", text } }));
      }
      case "tool_call":
      case "tool_call_update": {
        const { known: _known, sessionUpdate: _kind, ...call } = update;
        return this.called(call);
      }
      case "plan": {
        const entries = update.entries.slice(0, this.#limits.plan_entries_max);
        return [{ type: "plan", entries: entries.map((entry) => ({ ...entry, content: clip(entry.content, this.#limits.agent_text_chars_max) })) }];
      }
      // The daemon has told everybody what was asked.
      case "user_message_chunk":
        return [];
      // Facts: they are no part of a turn.
      case "available_commands_update":
      case "current_mode_update":
      case "config_option_update":
      case "session_info_update":
      case "usage_update":
        return [];
      case "notice":
      case "compaction_update":
      case "compaction_summary_chunk": {
        const { known: _known, ...raw } = update;
        return this.#raw(raw);
      }
    }
  }

  called(call: Parameters<ToolCalls["update"]>[0]): AgentEvent[] {
    return this.calls.update(call, () => this.#callsMessage());
  }

  /** The text that follows other text of its kind belongs to one message, unless the agent says which it is. */
  #messageOf(kind: string, given: string | undefined): string {
    const before = this.#message?.kind === kind ? this.#message.id : undefined;
    const id = given ? clip(given, this.#limits.agent_text_chars_max) : (before ?? this.#newId());
    this.#message = { id, kind };
    return id;
  }

  /** Calls belong to the text before them. */
  #callsMessage(): string {
    const id = this.#message?.id ?? this.#newId();
    this.#message = { id, kind: "calls" };
    return id;
  }

  #newId(): string {
    this.#made += 1;
    return `${this.#turnId}.${this.#made}`;
  }

  #raw(update: unknown): AgentEvent[] {
    if (typeof update !== "object" || update === null || !nestsAtMost(this.#limits.tool_input_depth_max, update)) return [];
    return JSON.stringify(update).length > this.#limits.agent_update_chars_max ? [] : [{ type: "agent_update", protocol: "acp", update: { ...update } }];
  }
}

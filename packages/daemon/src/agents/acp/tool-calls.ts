import type { Limits } from "@sessiond/shared";
import type { ReadPermissionRequest } from "@sessiond/shared/acp";
import type { AgentEvent } from "../agent.ts";
import { clip, headAndEnd, inputOf, line, locationsOf, toolKindOf } from "../bounded.ts";
import { diffsOf, textOf } from "./call-content.ts";

/**
 * The tool calls of one turn, as the agent tells of them: an id that was not seen yet is a new call,
 * whatever the update calls itself, and any other a change. A call's status goes forwards only.
 */
export type ToldCall = ReadPermissionRequest["toolCall"];

export interface Call {
  readonly id: string;
  /** All that is known of it, each part as it was told last. */
  readonly told: ToldCall;
  readonly tool: string;
  readonly input: Record<string, unknown>;
  status: Rank;
}

interface Kept extends Call {
  /** Of its output, what was given as chunks. */
  shown: string;
}

const ranks = ["pending", "in_progress", "completed", "failed"] as const;
type Rank = (typeof ranks)[number];

export class ToolCalls {
  readonly #limits: Limits;
  readonly #calls = new Map<string, Kept>();
  /** Ids beyond the bound: they are not told of. */
  #open = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  get(id: string): Call | undefined {
    return this.#calls.get(this.#idOf(id));
  }

  /** @returns what is to be told; nothing for one more call than may be open */
  update(update: ToldCall, messageId: () => string): AgentEvent[] {
    const id = this.#idOf(update.toolCallId);
    const before = this.#calls.get(id);
    if (before === undefined) return this.#begin(id, update, messageId);
    const told = { ...before.told, ...given(update) };
    const now: Kept = { ...before, told, input: update.rawInput === undefined ? before.input : this.#inputOf(update.rawInput) };
    this.#calls.set(id, now);
    return [...this.#changed(id, update, before), ...this.#progress(now, update)];
  }

  #begin(id: string, update: ToldCall, messageId: () => string): AgentEvent[] {
    const limits = this.#limits;
    if (this.#open >= limits.calls_open_max) return [];
    const kind = toolKindOf(update.kind);
    const tool = line(update.name ?? "", limits.title_chars_max) || kind;
    const call: Kept = { id, told: update, tool, input: this.#inputOf(update.rawInput), status: "pending", shown: "" };
    this.#keep(call);
    const event: AgentEvent = {
      type: "tool_call",
      tool_call_id: id,
      message_id: messageId(),
      tool,
      kind,
      title: clip(update.title ?? "", limits.title_chars_max) || tool,
      input: call.input,
      ...this.#places(update),
    };
    return [event, ...this.#progress(call, update)];
  }

  #changed(id: string, update: ToldCall, { told, input }: Call): AgentEvent[] {
    const limits = this.#limits;
    const next = this.#calls.get(id)?.input ?? input;
    const change = {
      ...(update.title && update.title !== told.title && { title: clip(update.title, limits.title_chars_max) }),
      ...(update.kind !== undefined && update.kind !== told.kind && { kind: toolKindOf(update.kind) }),
      ...(JSON.stringify(next) !== JSON.stringify(input) && { input: next }),
      ...(isOther(update.locations, told.locations) && this.#places({ toolCallId: id, locations: update.locations })),
      ...(isOther(diffsOf(update.content ?? [], limits), diffsOf(told.content ?? [], limits)) && this.#places({ toolCallId: id, content: update.content })),
    };
    return Object.keys(change).length === 0 ? [] : [{ type: "tool_call_changed", tool_call_id: id, ...change }];
  }

  /** Its status, and what it has put out so far. */
  #progress(call: Kept, update: ToldCall): AgentEvent[] {
    const limits = this.#limits;
    const status = update.status ?? call.status;
    const events: AgentEvent[] = [];
    if (isOver(call.status)) return events;
    if (status === "in_progress" && call.status === "pending") {
      call.status = "in_progress";
      events.push({ type: "tool_call_update", tool_call_id: call.id, status });
    }
    const text = textOf(call.told.content ?? []);
    if (status === "completed" || status === "failed") {
      call.status = status;
      this.#open -= 1;
      const result = headAndEnd(text ?? wordsOfOutput(call.told.rawOutput), limits.tool_output_bytes_max);
      events.push({ type: "tool_call_update", tool_call_id: call.id, status, ...(result !== "" && { result }) });
      // Nobody asks about it any more, and it may be large.
      this.#calls.set(call.id, { ...call, told: { toolCallId: call.id }, input: {}, shown: "" });
      this.#forget();
    } else if (call.status === "in_progress" && text !== null && text.length > call.shown.length && text.startsWith(call.shown)) {
      // ACP replaces content where ours is appended: what goes on from before is given, all of it comes with the end.
      const more = clip(text.slice(call.shown.length), Math.max(0, limits.agent_said_chars_max - call.shown.length));
      call.shown += more;
      if (more !== "") events.push({ type: "tool_call_chunk", tool_call_id: call.id, content: { type: "text", text: more } });
    }
    return events;
  }

  #places({ locations, content }: ToldCall) {
    const places = locationsOf(locations ?? [], this.#limits);
    const diffs = diffsOf(content ?? [], this.#limits);
    return { ...(places.length > 0 && { locations: places }), ...(diffs.length > 0 && { diffs }) };
  }

  #inputOf(raw: unknown): Record<string, unknown> {
    return inputOf(raw, this.#limits) ?? { left_out: "the agent's arguments are too large to be kept" };
  }

  #idOf(id: string): string {
    return clip(id, this.#limits.agent_text_chars_max) || "call";
  }

  #keep(call: Kept): void {
    this.#calls.set(call.id, call);
    this.#open += 1;
    this.#forget();
  }

  /** The oldest that have ended; one that is told of again is a new call. */
  #forget(): void {
    for (const [id, { status }] of this.#calls) {
      if (this.#calls.size <= this.#limits.agent_calls_remembered) return;
      if (isOver(status)) this.#calls.delete(id);
    }
  }
}

const isOver = (status: Rank): boolean => status === "completed" || status === "failed";

/** Without what is not told. */
const given = (update: ToldCall): Partial<ToldCall> => Object.fromEntries(Object.entries(update).filter(([, value]) => value !== undefined));

const isOther = (now: unknown, before: unknown): boolean => now !== undefined && now !== null && JSON.stringify(now) !== JSON.stringify(before ?? []);

function wordsOfOutput(raw: unknown): string {
  return raw === undefined || raw === null ? "" : typeof raw === "string" ? raw : JSON.stringify(raw, null, 2);
}

import { createHash } from "node:crypto";
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
  /** A digest of each part that was told last: the same again is no news. */
  digests: Readonly<Record<string, string>>;
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
    const parts = this.#partsOf(update);
    const news: typeof parts = Object.fromEntries(Object.entries(parts).filter(([name, value]) => digestOf(value) !== before.digests[name]));
    const digests = { ...before.digests, ...digestsOf(news) };
    // Of what comes late nothing is kept: nobody asks about it any more, and it may be large.
    const now: Kept = isOver(before.status)
      ? { ...before, digests }
      : { ...before, digests, told: { ...before.told, ...given(update) }, input: parts.input ?? before.input };
    this.#calls.set(id, now);
    const changed: AgentEvent[] = Object.keys(news).length === 0 ? [] : [{ type: "tool_call_changed", tool_call_id: id, ...news }];
    return [...changed, ...this.#progress(now, update)];
  }

  #begin(id: string, update: ToldCall, messageId: () => string): AgentEvent[] {
    const limits = this.#limits;
    if (this.#open >= limits.calls_open_max) return [];
    const kind = toolKindOf(update.kind);
    const tool = line(update.name ?? "", limits.title_chars_max) || kind;
    const parts = { title: tool, kind, input: {}, ...this.#partsOf(update) };
    const call: Kept = { id, told: update, tool, input: parts.input, status: "pending", shown: "", digests: digestsOf(parts) };
    this.#keep(call);
    return [{ type: "tool_call", tool_call_id: id, message_id: messageId(), tool, ...parts }, ...this.#progress(call, update)];
  }

  /** What an update tells of a call, in the words of an event. */
  #partsOf({ title, kind, rawInput, locations, content }: ToldCall) {
    const limits = this.#limits;
    const places = locationsOf(locations ?? [], limits);
    const diffs = diffsOf(content ?? [], limits);
    return {
      ...(title && { title: clip(title, limits.title_chars_max) }),
      ...(kind !== undefined && { kind: toolKindOf(kind) }),
      ...(rawInput !== undefined && { input: inputOf(rawInput, limits) ?? { left_out: "the agent's arguments are too large to be kept" } }),
      ...(places.length > 0 && { locations: places }),
      ...(diffs.length > 0 && { diffs }),
    };
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

export const isOver = (status: Rank): boolean => status === "completed" || status === "failed";

/** Without what is not told. */
const given = (update: ToldCall): Partial<ToldCall> => Object.fromEntries(Object.entries(update).filter(([, value]) => value !== undefined));

const digestOf = (value: unknown): string => createHash("sha256").update(JSON.stringify(value)).digest("base64");
const digestsOf = (parts: object): Record<string, string> => Object.fromEntries(Object.entries(parts).map(([name, value]) => [name, digestOf(value)]));

function wordsOfOutput(raw: unknown): string {
  return raw === undefined || raw === null ? "" : typeof raw === "string" ? raw : JSON.stringify(raw, null, 2);
}

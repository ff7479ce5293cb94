import { posix } from "node:path";
import type { Diff, Location, SessionEvent, SessionState, ToolKind } from "@sessiond/client";
import type { AcpToolCallUpdate, AcpToolContent, AcpUpdate } from "@sessiond/shared/acp";
import { outputOf } from "./verbatim.ts";

type EventOf<T extends SessionEvent["type"]> = Extract<SessionEvent, { type: T }>;
type CallEvent = EventOf<"tool_call" | "tool_call_chunk" | "tool_call_update" | "tool_call_changed">;

interface Known {
  readonly id: string;
  readonly turnId: string;
  kind: ToolKind;
  diffs: readonly Diff[];
  /** Its output so far; its end, where it is longer than is shown of a running call. */
  text: string;
  /** Output came that was not told. */
  untold: boolean;
  ended: boolean;
}

/** An agent's own id may come again in another turn; the editor's calls are one list for all of the session. */
export const callIdOf = (turnId: string, id: string): string => `${turnId}/${id}`;

/**
 * Tool calls as an editor shows them. Content replaces what was there before, so what a call shows is kept here: output of a
 * running call is told whole each time, its end alone where it is long, and not for each piece of it.
 */
export class ToolCalls {
  readonly #state: () => SessionState;
  readonly #limits: { readonly runningChars: number; readonly kept: number };
  readonly #known = new Map<string, Known>();

  constructor(state: () => SessionState, limits: { readonly runningChars: number; readonly kept: number }) {
    this.#state = state;
    this.#limits = limits;
  }

  of(event: CallEvent): AcpUpdate[] {
    if (event.type === "tool_call") return [this.#begin(event)];
    const first = this.#unknown(event);
    const call = this.#known.get(callIdOf(event.turn_id, event.tool_call_id));
    if (call === undefined) return first;
    switch (event.type) {
      case "tool_call_chunk":
        call.text = (call.text + event.content.text).slice(-this.#limits.runningChars);
        call.untold = true;
        return first;
      case "tool_call_update":
        return [...first, ...this.#updated(call, event)];
      case "tool_call_changed":
        return [...first, this.#changed(call, event)];
    }
  }

  /** What running calls have put out since it was told. */
  output(): AcpUpdate[] {
    const untold = [...this.#known.values()].filter((call) => call.untold);
    for (const call of untold) call.untold = false;
    return untold.map((call) => ({ sessionUpdate: "tool_call_update", toolCallId: callIdOf(call.turnId, call.id), content: this.#contentOf(call) }));
  }

  /** Calls of a turn that has ended do not change any more. */
  turnEnded(turnId: string): void {
    for (const [key, call] of this.#known) if (call.turnId === turnId) this.#known.delete(key);
  }

  /** Diffs as an editor shows them, where the call told any. */
  diffsOf(turnId: string, id: string): AcpToolContent[] {
    return this.#diffs(this.#known.get(callIdOf(turnId, id))?.diffs ?? []);
  }

  locations(locations: readonly Location[]): { locations: { path: string; line?: number }[] } {
    return { locations: locations.map(({ path, line }) => ({ path: this.#absolute(path), ...(line !== undefined && { line }) })) };
  }

  #begin({ turn_id, tool_call_id, title, tool, kind, input, raw_input, locations = [], diffs = [] }: EventOf<"tool_call">): AcpUpdate {
    const call = this.#keep({ id: tool_call_id, turnId: turn_id, kind, diffs, text: "", untold: false, ended: false });
    return {
      sessionUpdate: "tool_call",
      toolCallId: callIdOf(turn_id, tool_call_id),
      title: title || tool,
      name: tool,
      kind,
      status: "pending",
      rawInput: raw_input ?? input,
      ...this.locations(locations),
      content: this.#contentOf(call),
    };
  }

  /** A call that was begun before this connection looked: as the session's state has it. */
  #unknown({ turn_id, tool_call_id }: CallEvent): AcpUpdate[] {
    const key = callIdOf(turn_id, tool_call_id);
    if (this.#known.has(key)) return [];
    const state = this.#state();
    const message = state.messages.findLast((each) => each.type === "tool" && each.id === tool_call_id && each.turn_id === turn_id);
    if (message?.type !== "tool") return [];
    const { title, tool, kind, status, input } = message;
    this.#keep({ id: tool_call_id, turnId: turn_id, kind, diffs: [], text: "", untold: false, ended: false });
    const locations = state.calls.find((each) => each.tool_call_id === tool_call_id)?.locations ?? [];
    return [
      {
        sessionUpdate: "tool_call",
        toolCallId: key,
        title: title || tool,
        name: tool,
        kind,
        status,
        ...(input && { rawInput: input }),
        ...this.locations(locations),
      },
    ];
  }

  #updated(call: Known, { status, result }: EventOf<"tool_call_update">): AcpUpdate[] {
    if (result !== undefined) call.text = result;
    const changed = result !== undefined || call.untold;
    call.untold = false;
    call.ended = status !== "in_progress";
    const update: AcpToolCallUpdate = { toolCallId: callIdOf(call.turnId, call.id), status, ...(changed && { content: this.#contentOf(call) }) };
    return [{ sessionUpdate: "tool_call_update", ...update }];
  }

  #changed(call: Known, { title, kind, input, locations, diffs }: EventOf<"tool_call_changed">): AcpUpdate {
    if (kind !== undefined) call.kind = kind;
    if (diffs !== undefined) call.diffs = diffs;
    return {
      sessionUpdate: "tool_call_update",
      toolCallId: callIdOf(call.turnId, call.id),
      ...(title !== undefined && { title }),
      ...(kind !== undefined && { kind }),
      ...(input !== undefined && { rawInput: input }),
      ...(locations !== undefined && this.locations(locations)),
      ...(diffs !== undefined && { content: this.#contentOf(call) }),
    };
  }

  #contentOf({ kind, diffs, text }: Known): AcpToolContent[] {
    return [...this.#diffs(diffs), ...(text === "" ? [] : [{ type: "content" as const, content: { type: "text" as const, text: outputOf(kind, text) } }])];
  }

  #diffs(diffs: readonly Diff[]): AcpToolContent[] {
    return diffs.map(({ path, old_text, new_text }) => ({ type: "diff", path: this.#absolute(path), oldText: old_text, newText: new_text }));
  }

  #absolute(path: string): string {
    return posix.resolve(this.#state().workdir || "/", path);
  }

  /** Ended ones are forgotten first, oldest first: they may still change, and show then what is new of them alone. */
  #keep(call: Known): Known {
    this.#known.set(callIdOf(call.turnId, call.id), call);
    for (const [key, { ended }] of this.#known) {
      if (this.#known.size <= this.#limits.kept) break;
      if (ended) this.#known.delete(key);
    }
    return call;
  }
}

import type { Approval, Frame, Message, SeatEvent, SessionEvent, SessionState } from "@sessiond/client";
import { foreign, foreignLine, type Block, type Screen, type Style } from "./screen.ts";
import type { Shower } from "./shower.ts";

/**
 * A session for a person's eyes. The agent's words go to `main`, everything else aside; a
 * question's preview is always whole, a tool's result is cut after some lines.
 */
export interface TranscriptOptions {
  /** Messages of the first snapshot to show; none: only what happens from now on. */
  readonly history: number;
  /** How turns ended, who came and went; a one-shot command says the first itself. */
  readonly surroundings: boolean;
  /** Whose prompts need no echo. */
  readonly ownSeat: () => string | null;
}

type EventOf<T extends SessionEvent["type"]> = Extract<SessionEvent, { type: T }>;
const resultLinesMax = 12;
const rail = "  │ ";

export class Transcript implements Shower {
  readonly #screen: Screen;
  readonly #options: TranscriptOptions;
  readonly #labels = new Map<string, string>();
  readonly #prompts = new Map<string, { text: string; own: boolean; label: string }>();
  readonly #calls = new Map<string, { title: string; streamed: boolean }>();
  #lastCall = "";
  #seq: number | null = null;
  /** Something stands above already: a prompt keeps a distance from it. */
  #begun = false;

  constructor(screen: Screen, options: TranscriptOptions) {
    this.#screen = screen;
    this.#options = options;
  }

  event(event: SeatEvent): void {
    if (event.type === "frame") this.#frame(event.frame);
    else this.#snapshot(event.state);
  }

  pause(): void {
    this.#screen.close();
  }

  #snapshot(state: SessionState): void {
    for (const seat of state.seats) this.#labels.set(seat.seat_id, seat.label);
    for (const prompt of state.queue) this.#prompts.set(prompt.prompt_id, this.#promptOf(prompt));
    const before = this.#seq;
    this.#seq = state.seq;
    if (before === state.seq) return;
    if (before === null) return this.#firstSight(state);
    this.#aside("— some events were not seen here; this is what stands now");
    for (const message of state.messages) if (message.seq > before) this.#message(message);
    for (const approval of state.approvals) this.#question(approval);
  }

  #firstSight(state: SessionState): void {
    const { history } = this.#options;
    if (history > 0) {
      const shown = state.messages.slice(-history);
      const left = state.messages.length - shown.length;
      if (left > 0 || state.older_before !== null)
        this.#aside(`— ${left > 0 ? `${left}${state.older_before === null ? "" : " and more"}` : "some"} earlier messages are not shown`);
      for (const message of shown) this.#message(message);
    }
    if (this.#options.surroundings && state.queue.length > 0) this.#aside(`— ${count(state.queue.length, "prompt")} queued`);
    for (const approval of state.approvals) this.#question(approval);
  }

  #message(message: Message): void {
    const text = foreign(message.text);
    switch (message.type) {
      case "user":
        return this.#said(message.text, message.by.label);
      case "agent":
        return this.#screen.write(agentBlock(message.id), text);
      case "thought":
        return this.#screen.write(thoughtBlock(message.id), text);
      case "notice":
        return this.#screen.line(`! ${foreignLine(message.text)}`, "yellow");
      case "tool": {
        const key = callKey(message.turn_id, message.id);
        this.#call(key, message.tool, message.title);
        if (message.status === "completed" || message.status === "failed") this.#callEnded(key, message.status === "completed", message.text);
        else if (text !== "") this.#screen.write(outputBlock(key), text);
      }
    }
  }

  #frame({ seq, event }: Frame): void {
    this.#seq = seq;
    switch (event.type) {
      case "agent_message_chunk":
        return this.#screen.write(agentBlock(event.message_id), foreign(event.content.text));
      case "agent_thought_chunk":
        return this.#screen.write(thoughtBlock(event.message_id), foreign(event.content.text));
      case "tool_call":
        return this.#call(callKey(event.turn_id, event.tool_call_id), event.tool, event.title);
      case "tool_call_chunk":
        return this.#output(callKey(event.turn_id, event.tool_call_id), event.content.text);
      case "tool_call_update":
        if (event.status !== "in_progress") this.#callEnded(callKey(event.turn_id, event.tool_call_id), event.status === "completed", event.result ?? "");
        return;
      case "approval_requested":
        return this.#question(event.approval);
      case "approval_resolved":
        return this.#resolved(event);
      case "notice":
        return this.#screen.line(`! ${foreignLine(event.text)}`, "yellow");
      case "turn_ended":
        this.#screen.close();
        return this.#options.surroundings ? this.#turnEnded(event) : undefined;
      default:
        return this.#around(event);
    }
  }

  /** Prompts, seats and the life of the session. */
  #around(event: SessionEvent): void {
    switch (event.type) {
      case "prompt_accepted": {
        const prompt = this.#promptOf(event);
        this.#prompts.set(event.prompt_id, prompt);
        if (event.became === "queued")
          this.#aside(`— ${prompt.own ? "queued" : `${prompt.label} queued a prompt`}; it runs when the turns before it have ended`);
        return;
      }
      case "prompt_delivered": {
        const prompt = this.#prompts.get(event.prompt_id);
        this.#prompts.delete(event.prompt_id);
        if (prompt !== undefined && !prompt.own) this.#said(prompt.text, prompt.label);
        return;
      }
      case "prompt_withdrawn":
        return this.#aside(`— a queued prompt was withdrawn by ${foreignLine(event.by.label)}`);
      case "queue_held":
        return this.#aside("— queued prompts are held; `sessiond queue release` lets them run");
      case "queue_released":
        return this.#aside("— held prompts are released");
      case "session_stopped":
        return this.#aside(`— the session was stopped by ${foreignLine(event.by.label)}`);
      case "seat_taken":
        this.#labels.set(event.seat_id, event.label);
        return this.#came(event.seat_id, event.role === "driver" ? "is the driver now" : "is watching");
      case "seat_lost":
        return this.#came(event.seat_id, "lost its connection");
      case "seat_resumed":
        return this.#came(event.seat_id, "is back");
      case "seat_left":
        return this.#came(event.seat_id, "left");
      default:
    }
  }

  #came(seatId: string, what: string): void {
    const label = this.#labels.get(seatId);
    if (this.#options.surroundings && label !== undefined && seatId !== this.#options.ownSeat()) this.#aside(`— ${foreignLine(label)} ${what}`);
  }

  #call(key: string, tool: string, title: string): void {
    const name = foreignLine(title === "" ? tool : title === tool || title.startsWith(`${tool} `) ? title : `${tool}: ${title}`);
    this.#calls.set(key, { title: name, streamed: false });
    this.#lastCall = key;
    this.#screen.line(`● ${name}`, "cyan");
  }

  #output(key: string, text: string): void {
    const call = this.#calls.get(key);
    if (call !== undefined) call.streamed = true;
    this.#nameCall(key);
    this.#screen.write(outputBlock(key), foreign(text));
  }

  #callEnded(key: string, ok: boolean, result: string): void {
    const { title = "a tool", streamed = false } = this.#calls.get(key) ?? {};
    const lines = foreign(result).trimEnd().split("\n");
    const last = lines.at(-1) ?? "";
    const isVerdict = /^\[.*\]$/.test(last);
    const body = isVerdict ? lines.slice(0, -1) : lines;
    if (!streamed && body.length > 0 && body[0] !== "") this.#nameCall(key);
    if (!streamed) this.#screen.write(outputBlock(key), clipped(body));
    const named = this.#lastCall === key ? "" : ` ${title}`;
    this.#calls.delete(key);
    this.#screen.line(`  ${ok ? "✓" : "✗"}${named} ${isVerdict ? last.slice(1, -1) : ok ? "done" : "not done"}`, ok ? "green" : "red");
  }

  /** Output of a call that is not the last one named: calls may run side by side. */
  #nameCall(key: string): void {
    if (this.#lastCall === key) return;
    this.#lastCall = key;
    this.#screen.line(`● ${this.#calls.get(key)?.title ?? "a tool"}`, "cyan");
  }

  #question(approval: Approval): void {
    this.#screen.line(`? ${foreignLine(approval.tool)} asks for permission (${approval.approval_id})`, "yellow");
    this.#screen.write({ key: approval.approval_id, to: "aside", prefix: rail }, foreign(approval.preview));
    this.#screen.close();
  }

  #resolved({ cause, option_id, reason, by }: EventOf<"approval_resolved">): void {
    if (cause !== "answer") return this.#aside(`  the question was closed: ${cause === "failed" ? "the turn ended" : cause}`);
    const who = by === undefined || by.seat_id === this.#options.ownSeat() ? "" : ` by ${foreignLine(by.label)}`;
    const allowed = option_id === "allow_once";
    this.#aside(`  ${allowed ? "allowed" : "refused"}${who}${reason === undefined ? "" : `: ${foreignLine(reason)}`}`, allowed ? "dim" : "red");
  }

  #turnEnded({ stop_reason, error }: EventOf<"turn_ended">): void {
    if (stop_reason === "failed") return this.#screen.line(`✗ the turn failed: ${foreignLine(error?.message ?? "no reason was given")}`, "red");
    if (stop_reason !== "end_turn") this.#screen.line(`■ ${stopWords[stop_reason]}`, "yellow");
  }

  #said(text: string, label: string): void {
    const [first = "", ...rest] = foreign(text).split("\n");
    const key = `prompt ${this.#seq} ${text}`;
    this.#screen.close();
    if (this.#begun) this.#screen.line("");
    this.#begun = true;
    this.#screen.write({ key, to: "aside", style: "bold" }, `> ${[first, ...rest.map((line) => `  ${line}`)].join("\n")}`);
    if (this.#options.surroundings) this.#screen.write({ key, to: "aside", style: "dim" }, `  (${foreignLine(label)})`);
    this.#screen.close();
  }

  #promptOf({ parts, by }: { parts: readonly { text: string }[]; by: { seat_id?: string | undefined; label: string } }): {
    text: string;
    own: boolean;
    label: string;
  } {
    return {
      text: parts.map((part) => part.text).join("\n"),
      own: by.seat_id !== undefined && by.seat_id === this.#options.ownSeat(),
      label: foreignLine(by.label),
    };
  }

  #aside(text: string, style: Style = "dim"): void {
    this.#screen.line(text, style);
  }
}

export const stopWords: Readonly<Record<Exclude<EventOf<"turn_ended">["stop_reason"], "end_turn" | "failed">, string>> = {
  cancelled: "the turn was interrupted",
  interrupted: "the turn was cut off by a restart of the daemon",
  max_tokens: "the turn ended: the model's answer reached its size limit",
  max_turn_requests: "the turn ended: too many steps",
  refusal: "the turn ended: the model refused",
};

const agentBlock = (id: string): Block => ({ key: `agent ${id}`, to: "main" });
const thoughtBlock = (id: string): Block => ({ key: `thought ${id}`, to: "aside", style: "dim", prefix: "  " });
const outputBlock = (key: string): Block => ({ key: `output ${key}`, to: "aside", style: "dim", prefix: rail });
/** A call's id is unique in its turn only. */
const callKey = (turnId: string | undefined, id: string): string => `${turnId ?? ""} ${id}`;
const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? "" : "s"}`;

function clipped(lines: readonly string[]): string {
  if (lines.length <= resultLinesMax + 1) return lines.join("\n");
  return [...lines.slice(0, resultLinesMax), `… ${lines.length - resultLinesMax} more lines`].join("\n");
}

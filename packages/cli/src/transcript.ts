import type { Frame, Message, PlanEntry, SeatEvent, SessionEvent, SessionState } from "@sessiond/client";
import { planLines, planSum } from "./plan-words.ts";
import { Questions } from "./questions.ts";
import { foreign, foreignLine, type Block, type Screen, type Style } from "./screen.ts";
import type { Shower } from "./shower.ts";
import { Surroundings } from "./surroundings.ts";
import { ToolCalls } from "./tool-calls.ts";

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
  /** Slash commands can be typed here. */
  readonly slash?: boolean;
  /** What the seat has received, which may be more than was shown: the clocks of questions, and rules. */
  readonly state?: () => SessionState;
}

type EventOf<T extends SessionEvent["type"]> = Extract<SessionEvent, { type: T }>;
/** Of one prompt; what goes with it, such as a file, may be long. */
const promptLinesMax = 60;

export class Transcript implements Shower {
  readonly #screen: Screen;
  readonly #options: TranscriptOptions;
  readonly #around: Surroundings;
  readonly #questions: Questions;
  readonly #calls: ToolCalls;
  /** As it was shown last. */
  #plan = "[]";
  #seq: number | null = null;
  /** Something stands above already: a prompt keeps a distance from it. */
  #begun = false;

  constructor(screen: Screen, options: TranscriptOptions) {
    this.#screen = screen;
    this.#options = options;
    this.#calls = new ToolCalls(screen, { workdir: () => options.state?.().workdir });
    this.#questions = new Questions(screen, { ...options, onShown: (approval) => this.#calls.asked(approval) });
    this.#around = new Surroundings({ ownSeat: options.ownSeat, slash: options.slash === true });
  }

  event(event: SeatEvent): void {
    if (event.type === "frame") this.#frame(event.frame);
    else this.#snapshot(event.state);
  }

  pause(): void {
    this.#screen.close();
  }

  #snapshot(state: SessionState): void {
    this.#around.stands(state);
    const before = this.#seq;
    this.#seq = state.seq;
    if (before === state.seq) return;
    if (before === null) return this.#firstSight(state);
    this.#aside("— some events were not seen here; this is what stands now");
    for (const message of state.messages) if (message.seq > before) this.#message(message);
    if (state.turn !== null && state.plan.length > 0) this.#showPlan(state.plan);
    for (const approval of state.approvals) this.#questions.show(approval, Date.now());
  }

  #firstSight(state: SessionState): void {
    const { history } = this.#options;
    if (history > 0) {
      const shown = state.messages.slice(-history);
      const left = state.messages.length - shown.length;
      if (left > 0 || state.older_before !== null)
        this.#aside(`— ${left > 0 ? `${left}${state.older_before === null ? "" : " and more"}` : "some"} earlier messages are not shown`);
      for (const message of shown) this.#message(message);
      if (state.turn !== null) this.#showPlan(state.plan);
    }
    if (this.#options.surroundings && state.queue.length > 0) this.#aside(`— ${count(state.queue.length, "prompt")} queued`);
    for (const approval of state.approvals) this.#questions.show(approval, Date.now());
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
        if (message.by !== undefined) return this.#screen.line(`# ${foreignLine(message.text)} (${foreignLine(message.by.label)})`, "yellow");
        return this.#screen.line(`! ${foreignLine(message.text)}`, "yellow");
      case "tool": {
        const { id: tool_call_id, turn_id = "", status, tool, kind, title } = message;
        const named = { turn_id, tool_call_id };
        this.#calls.begun({ ...named, tool, kind, title });
        if (status === "completed" || status === "failed") this.#calls.ended({ ...named, status, result: message.text });
        else if (text !== "") this.#calls.output({ ...named, content: { type: "text", text: message.text } });
      }
    }
  }

  #frame({ seq, at, event }: Frame): void {
    this.#seq = seq;
    switch (event.type) {
      case "agent_message_chunk":
        return this.#screen.write(agentBlock(event.message_id), foreign(event.content.text));
      case "agent_thought_chunk":
        return this.#screen.write(thoughtBlock(event.message_id), foreign(event.content.text));
      case "tool_call":
        return this.#calls.begun(event);
      case "tool_call_changed":
        return this.#calls.changed(event);
      case "tool_call_chunk":
        return this.#calls.output(event);
      case "tool_call_update":
        return event.status === "in_progress" ? undefined : this.#calls.ended(event);
      case "turn_started":
        this.#plan = "[]";
        return;
      case "plan":
        return this.#showPlan(event.entries);
      case "approval_requested":
        return this.#questions.asked(event.approval, at);
      case "approval_resolved":
        return this.#questions.resolved(event);
      case "notice":
        return this.#screen.line(`! ${foreignLine(event.text)}`, "yellow");
      case "turn_ended":
        this.#screen.close();
        this.#calls.turnEnded();
        return this.#options.surroundings ? this.#turnEnded(event) : undefined;
      case "prompt_delivered": {
        const prompt = this.#around.delivered(event.prompt_id);
        if (prompt !== undefined && !prompt.own) this.#said(prompt.text, prompt.label);
        return;
      }
      default:
        return this.#beside(event, at);
    }
  }

  #beside(event: SessionEvent, at: number): void {
    const said = this.#around.words(event, at);
    if (said !== null && (this.#options.surroundings || said.aside !== true)) this.#aside(said.text, said.style);
    // Who came or went may have set the questions' clocks going.
    if (this.#options.surroundings && clockEvents.has(event.type)) this.#questions.clocks(at);
  }

  /** Whole and anew at each change: it is short, and a person reads it where the agent works. */
  #showPlan(entries: readonly PlanEntry[]): void {
    const shown = JSON.stringify(entries);
    if (shown === this.#plan) return;
    this.#plan = shown;
    if (entries.length === 0) return this.#aside("— the agent let go of its plan");
    this.#screen.line(`☰ plan, ${planSum(entries)}`, "cyan");
    for (const line of planLines(entries)) this.#screen.line(`  ${line}`, line.startsWith("▸") ? "plain" : "dim");
  }

  #turnEnded({ stop_reason, error }: EventOf<"turn_ended">): void {
    if (stop_reason === "failed") return this.#screen.line(`✗ the turn failed: ${foreignLine(error?.message ?? "no reason was given")}`, "red");
    if (stop_reason !== "end_turn") this.#screen.line(`■ ${stopWords[stop_reason]}`, "yellow");
  }

  #said(text: string, label: string): void {
    const lines = foreign(text).split("\n");
    const left = lines.length - promptLinesMax;
    const [first = "", ...rest] = left <= 1 ? lines : [...lines.slice(0, promptLinesMax), `… ${left} more lines`];
    const key = `prompt ${this.#seq} ${text}`;
    this.#screen.close();
    if (this.#begun) this.#screen.line("");
    this.#begun = true;
    this.#screen.write({ key, to: "aside", style: "bold" }, `> ${[first, ...rest.map((line) => `  ${line}`)].join("\n")}`);
    if (this.#options.surroundings) this.#screen.write({ key, to: "aside", style: "dim" }, `  (${foreignLine(label)})`);
    this.#screen.close();
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

const clockEvents: ReadonlySet<SessionEvent["type"]> = new Set(["seat_left", "seat_lost", "driver_changed", "session_configured"]);

const agentBlock = (id: string): Block => ({ key: `agent ${id}`, to: "main" });
const thoughtBlock = (id: string): Block => ({ key: `thought ${id}`, to: "aside", style: "dim", prefix: "  " });
const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? "" : "s"}`;

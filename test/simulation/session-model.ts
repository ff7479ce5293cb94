import { wordsOf, type Actor, type Approval, type Frame, type Policy, type Rule, type SessionEvent, type WhenBusy } from "@sessiond/shared";
import { holds } from "./violation.ts";

/**
 * What a session's frames may say one after another, told as shortly as it can be; it shares no code
 * with the daemon. Each frame that anybody was shown is put to it, in order: who acts must be the
 * driver, a prompt ends once, a question is closed once, a life ends with `session_stopped`, a number
 * is never given twice.
 */
interface ModelSeat {
  readonly id: string;
  role: "driver" | "viewer";
  readonly label: string;
  connected: boolean;
}
interface ModelPrompt {
  readonly id: string;
  text: string;
  readonly whenBusy: WhenBusy;
  held: boolean;
  readonly seq: number;
}
type CallStatus = "pending" | "in_progress" | "done";

export class SessionModel {
  seq = 0;
  life = 0;
  live = false;
  readonly seats = new Map<string, ModelSeat>();
  readonly requests = new Map<string, number>();
  queue: ModelPrompt[] = [];
  /** Every prompt that was ever accepted, and how it ended. */
  readonly prompts = new Map<string, string | null>();
  turn: { readonly id: string; readonly prompts: readonly string[]; readonly seq: number } | null = null;
  turns = 0;
  readonly calls = new Map<string, { status: CallStatus; may: boolean | null }>();
  readonly approvals = new Map<string, Approval>();
  readonly resolved = new Map<string, string>();
  readonly rules = new Map<string, Rule>();
  /** Rules for the workdir that any answer to this session asked for. */
  settings: { title: string | null; starred: boolean; model: string; policy: Policy } = { title: null, starred: false, model: "", policy: { type: "hold" } };
  readonly #everSeats = new Set<string>();
  readonly #everTurns = new Set<string>();

  get driver(): ModelSeat | undefined {
    return [...this.seats.values()].find(({ role }) => role === "driver");
  }

  /** @throws Violation */
  take(frame: Frame): void {
    const { event, seq } = frame;
    holds(seq === this.seq + 1, "B30", () => `frame ${seq} comes after ${this.seq}`);
    this.seq = seq;
    if (event.type !== "session_started") holds(this.live, "B35", () => `${event.type} (${seq}) comes after the end of life ${this.life}`);
    this.#event(event, seq);
  }

  #event(event: SessionEvent, seq: number): void {
    switch (event.type) {
      case "session_started":
        holds(!this.live && event.life === this.life + 1, "B35", () => `life ${event.life} begins in life ${this.life}`);
        this.life = event.life;
        this.live = true;
        this.settings = { ...this.settings, model: event.model, title: event.title ?? this.settings.title, policy: event.policy ?? { type: "hold" } };
        return;
      case "session_stopped":
        holds(
          event.life === this.life && this.turn === null && this.queue.length === 0 && this.approvals.size === 0,
          "B35",
          () => `life ${this.life} ends with something open`,
        );
        this.live = false;
        this.seats.clear();
        this.requests.clear();
        return;
      case "seat_taken":
        holds(!this.#everSeats.has(event.seat_id), "B3", () => `seat ${event.seat_id} is taken a second time`);
        holds(event.role === "viewer" || this.driver === undefined, "B14", () => "a second driver");
        this.#everSeats.add(event.seat_id);
        this.seats.set(event.seat_id, { id: event.seat_id, role: event.role, label: event.label, connected: true });
        return;
      case "seat_lost":
      case "seat_resumed": {
        const seat = this.#seat(event.seat_id, event.type);
        holds(seat.connected === (event.type === "seat_lost"), "B15", () => `${event.type} of a seat that is ${seat.connected ? "there" : "away"}`);
        seat.connected = !seat.connected;
        return;
      }
      case "seat_left": {
        const seat = this.#seat(event.seat_id, event.type);
        holds(seat.role === event.role, "B17", () => `a ${seat.role} leaves as ${event.role}`);
        this.seats.delete(event.seat_id);
        this.requests.delete(event.seat_id);
        return;
      }
      case "driver_requested":
        holds(this.#seat(event.seat_id, event.type).role === "viewer", "B16", () => "the driver asks for the wheel");
        this.requests.set(event.seat_id, event.lapses_at);
        return;
      case "driver_request_lapsed":
        holds(this.requests.delete(event.seat_id), "B16", () => "a request lapses that there is not");
        return;
      case "driver_changed":
        return this.#driverChanged(event);
      case "prompt_accepted":
        holds(!this.prompts.has(event.prompt_id), "B21", () => `${event.prompt_id} is accepted a second time`);
        this.#drives(event.by, event.type);
        this.prompts.set(event.prompt_id, null);
        this.queue.push({ id: event.prompt_id, text: wordsOf(event.parts), whenBusy: event.when_busy, held: false, seq });
        return;
      case "prompt_edited":
        this.#drives(event.by, event.type);
        this.#queued(event.prompt_id, event.type).text = wordsOf(event.parts);
        return;
      case "prompt_withdrawn":
        this.#drives(event.by, event.type);
        return this.#endPrompt(event.prompt_id, "withdrawn");
      case "prompt_discarded":
        return this.#endPrompt(event.prompt_id, "discarded");
      case "prompt_delivered":
        return this.#delivered(event.prompt_id, event.turn_id);
      case "queue_held":
        for (const prompt of this.queue) prompt.held = true;
        return;
      case "queue_released":
        this.#drives(event.by, event.type);
        for (const prompt of this.queue) prompt.held = false;
        return;
      case "turn_started":
        holds(this.turn === null, "B22", () => "a turn begins while another runs");
        holds(!this.#everTurns.has(event.turn_id), "B3", () => `turn ${event.turn_id} begins a second time`);
        for (const id of event.prompt_ids) holds(!this.#queued(id, event.type).held, "B23", () => `held prompt ${id} runs`);
        this.#everTurns.add(event.turn_id);
        this.turn = { id: event.turn_id, prompts: event.prompt_ids, seq };
        this.turns += 1;
        this.calls.clear();
        return;
      case "turn_ended":
        this.#inTurn(event.turn_id, event.type);
        holds(this.approvals.size === 0, "B27", () => "a turn ends with a question open");
        holds(
          [...this.calls.values()].every(({ status }) => status === "done"),
          "B37",
          () => "a turn ends with a call open",
        );
        // A crash may have cut the delivery off behind the turn's beginning: then the prompt waits still.
        for (const id of this.turn?.prompts ?? [])
          holds(this.prompts.get(id) === "delivered" || event.stop_reason === "interrupted", "B19", () => `the turn of ${id} ends, and it was not delivered`);
        for (const [id, rule] of this.rules) if (rule.turn_id === event.turn_id) this.rules.delete(id);
        this.turn = null;
        return;
      case "agent_message_chunk":
      case "agent_thought_chunk":
        return this.#inTurn(event.turn_id, event.type);
      case "tool_call":
        this.#inTurn(event.turn_id, event.type);
        holds(!this.calls.has(event.tool_call_id), "B37", () => `call ${event.tool_call_id} a second time`);
        this.calls.set(event.tool_call_id, { status: "pending", may: null });
        return;
      case "tool_call_chunk":
        this.#inTurn(event.turn_id, event.type);
        holds(this.calls.get(event.tool_call_id)?.status === "in_progress", "B37", () => `${event.tool_call_id} says something and does not run`);
        return;
      case "tool_call_update":
        return this.#callUpdate(event.tool_call_id, event.turn_id, event.status);
      case "approval_requested":
        return this.#asked(event.approval);
      case "approval_resolved":
        return this.#resolved(event);
      case "rule_added":
        holds(event.rule.scope !== "workdir", "B29", () => "a rule of the workdir in the journal");
        this.rules.set(event.rule.rule_id, event.rule);
        return;
      case "rule_forgotten":
        holds(this.rules.delete(event.rule_id), "B29", () => `rule ${event.rule_id} is forgotten and was not there`);
        return;
      case "session_configured": {
        this.#drives(event.by, event.type);
        const { title = this.settings.title, starred = this.settings.starred, model = this.settings.model, policy = this.settings.policy } = event;
        this.settings = { title, starred, model, policy };
        return;
      }
      case "system_message":
        return this.#drives(event.by, event.type);
      // What no simulated agent says.
      case "agent_conversation":
      case "agent_facts":
      case "agent_update":
      case "plan":
      case "tool_call_changed":
      case "notice":
        return;
    }
  }

  #seat(id: string, what: string): ModelSeat {
    const seat = this.seats.get(id);
    holds(seat !== undefined, "B17", () => `${what} of ${id}, which nobody has`);
    return seat;
  }

  #drives(by: Actor, what: string): void {
    holds(by.seat_id !== undefined && this.driver?.id === by.seat_id, "B14", () => `${what} by ${by.label}, while ${this.driver?.label ?? "nobody"} drives`);
  }

  #driverChanged({ from, to, cause }: { from: string | null; to: string | null; cause: string }): void {
    holds((this.driver?.id ?? null) === from, "B14", () => `the wheel goes from ${String(from)}, and ${this.driver?.id ?? "nobody"} has it`);
    if (from !== null) this.#seat(from, "driver_changed").role = "viewer";
    if (to === null) return;
    const seat = this.#seat(to, "driver_changed");
    holds(seat.connected, "B16", () => `the wheel goes to ${seat.label}, who is not there`);
    holds(cause !== "granted" || this.requests.has(to), "B16", () => "the wheel is granted to one who did not ask");
    seat.role = "driver";
    this.requests.delete(to);
  }

  #queued(id: string, what: string): ModelPrompt {
    const prompt = this.queue.find((waiting) => waiting.id === id);
    holds(prompt !== undefined, "B19", () => `${what} of ${id}, which is not queued (${this.prompts.get(id) ?? "never accepted"})`);
    return prompt;
  }

  #endPrompt(id: string, how: string): void {
    this.#queued(id, how);
    this.queue = this.queue.filter((prompt) => prompt.id !== id);
    this.prompts.set(id, how);
  }

  #delivered(id: string, turnId: string): void {
    this.#inTurn(turnId, "prompt_delivered");
    const prompt = this.#queued(id, "delivery");
    if (this.turn?.prompts.includes(id) !== true)
      holds(
        prompt.whenBusy === "steer" && !prompt.held && prompt.seq > (this.turn?.seq ?? 0),
        "B19",
        () => `${id} is delivered into a turn that it does not steer`,
      );
    this.#endPrompt(id, "delivered");
  }

  #inTurn(turnId: string, what: string): void {
    holds(this.turn?.id === turnId, "B22", () => `${what} of turn ${turnId}, while ${this.turn?.id ?? "none"} runs`);
  }

  #callUpdate(id: string, turnId: string, status: string): void {
    this.#inTurn(turnId, "tool_call_update");
    const call = this.calls.get(id);
    holds(call !== undefined && call.status !== "done", "B37", () => `${status} of call ${id}, which is not open`);
    if (status !== "in_progress") {
      call.status = "done";
      return;
    }
    holds(call.status === "pending", "B37", () => `call ${id} begins a second time`);
    holds(call.may === true, "B26", () => `call ${id} begins, and nobody allowed it`);
    call.status = "in_progress";
  }

  #asked(approval: Approval): void {
    this.#inTurn(approval.turn_id, "approval_requested");
    holds(!this.resolved.has(approval.approval_id) && !this.approvals.has(approval.approval_id), "B25", () => `${approval.approval_id} is asked a second time`);
    holds(this.calls.get(approval.tool_call_id)?.status === "pending", "B25", () => `a question about ${approval.tool_call_id}, which is not pending`);
    holds(
      ![...this.approvals.values()].some((open) => open.tool_call_id === approval.tool_call_id),
      "B25",
      () => `two questions about ${approval.tool_call_id}`,
    );
    this.approvals.set(approval.approval_id, approval);
  }

  #resolved(event: Extract<SessionEvent, { type: "approval_resolved" }>): void {
    const approval = this.approvals.get(event.approval_id);
    holds(
      approval !== undefined,
      "B27",
      () => `${event.approval_id} is resolved (${event.cause}); before: ${this.resolved.get(event.approval_id) ?? "never asked"}`,
    );
    this.approvals.delete(event.approval_id);
    this.resolved.set(event.approval_id, event.cause);
    const call = this.calls.get(approval.tool_call_id);
    const allowed = event.option_id?.startsWith("allow") === true;
    if (call !== undefined) call.may = (event.cause === "answer" || event.cause === "rule") && allowed;
    if (event.cause === "answer") {
      holds(event.by !== undefined, "B26", () => "an answer of nobody");
      this.#drives(event.by, "an answer");
      holds(
        approval.options.some(({ option_id }) => option_id === event.option_id),
        "B26",
        () => `${event.option_id ?? "?"} was not offered`,
      );
    }
    if (event.cause === "deadline")
      holds(
        this.settings.policy.type === "reject_after" && this.driver?.connected !== true,
        "B28",
        () => "a question ends by its deadline, and its clock does not run",
      );
    if (event.cause === "rule") this.#ruleCounts(event, approval);
  }

  #ruleCounts(event: Extract<SessionEvent, { type: "approval_resolved" }>, approval: Approval): void {
    const rule = this.rules.get(event.rule_id ?? "");
    // One of the workdir is not in the journal; the world looks at it.
    if (rule === undefined) return holds(event.option_id?.endsWith("_always") === true, "B29", () => `rule ${event.rule_id ?? "?"} answers, and there is none`);
    holds(JSON.stringify(rule.pattern) === JSON.stringify(approval.pattern) && rule.tool === approval.tool, "B29", () => `a rule answers for another command`);
    holds(rule.scope !== "turn" || rule.turn_id === approval.turn_id, "B29", () => "a rule of another turn answers");
  }
}

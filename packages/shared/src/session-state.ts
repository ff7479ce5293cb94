import { wordsOf } from "./content.ts";
import { limits } from "./limits.ts";
import type { EventOf, Frame, SessionEvent } from "./events.ts";
import type { AgentFactsTold, AgentOption, Approval, Message, SessionState, Status } from "./schemas.ts";

/**
 * The bounded state of a session, folded from its frames by daemon and clients alike.
 *
 * Law: for every n <= m, the snapshot at n with the frames (n, m] folded in equals the
 * snapshot at m. So everything here is a pure function of state and frame: no clock, no
 * chance, and each cut is decided by sizes alone. States are never mutated; a caller may
 * keep any of them.
 */
export function emptyState(sessionId: string): SessionState {
  return {
    session_id: sessionId,
    seq: 0,
    life: 0,
    life_state: "stopped",
    workdir: "",
    agent: "",
    model: "",
    title: null,
    starred: false,
    policy: { type: "hold" },
    sandbox: "off",
    status: "idle",
    status_since: 0,
    turn: null,
    last_turn: null,
    seats: [],
    driver_requests: [],
    queue: [],
    approvals: [],
    rules: [],
    calls: [],
    files: [],
    messages: [],
    messages_chars: 0,
    older_before: null,
    turns: 0,
    usage: { input_tokens: 0, output_tokens: 0 },
    plan: [],
    agent_facts: noFacts,
    chosen: nothingChosen,
  };
}

const noFacts: SessionState["agent_facts"] = { conversation: null, mode: null, modes: [], options: [], commands: [], use: null };
const nothingChosen: SessionState["chosen"] = { title: false, mode: null, options: {} };

/**
 * @returns the state after the frame; an event type that this build does not know changes only `seq`
 * Cost: O(messages kept), at most state_messages_max.
 */
export function reduce(state: SessionState, frame: Frame): SessionState {
  const folded = fold(state, frame.event, frame);
  const next = { ...folded, approvals: withClocks(folded, frame.at), seq: frame.seq };
  const status = statusOf(next);
  return status === next.status ? next : { ...next, status, status_since: frame.at };
}

/**
 * Folds `frames[from]`; of a chunk also the chunks of the same message behind it, put together first: one state for all
 * of them, where one by one would make a copy for each.
 *
 * @returns what `reduce` would make of them one by one, and the place of the next frame
 */
export function reduceRun(state: SessionState, frames: readonly Frame[], from: number): { readonly state: SessionState; readonly next: number } {
  const first = frames[from];
  if (first === undefined) return { state, next: from };
  const { event } = first;
  if (!isText(event)) return { state: reduce(state, first), next: from + 1 };
  // How much is cut depends on where the bound was crossed, so the chunk that crosses it is folded by itself.
  const room = limits.message_chars_max - (continued(state, event)?.text.length ?? 0);
  let { text } = event.content;
  let next = from + 1;
  for (; next < frames.length; next++) {
    const further = frames[next]?.event;
    if (further === undefined || !isText(further) || further.type !== event.type || further.message_id !== event.message_id) break;
    if (text.length + further.content.text.length > room) break;
    text += further.content.text;
  }
  // A message has the seq of its first chunk.
  const folded = reduce(state, { ...first, event: { ...event, content: { ...event.content, text } } });
  return { state: { ...folded, seq: frames[next - 1]?.seq ?? first.seq }, next };
}

function statusOf(state: SessionState): Status {
  if (state.turn === null) return state.last_turn?.stop_reason === "failed" ? "error" : "idle";
  if (state.approvals.length > 0) return "awaiting_approval";
  return state.calls.some((call) => call.status === "in_progress") ? "tool_executing" : "thinking";
}

/** Under `reject_after` a question's clock runs exactly while no driver is seated and connected. */
function withClocks(state: SessionState, at: number): Approval[] {
  const { approvals, policy } = state;
  if (approvals.length === 0 || policy.type === "hold") return approvals;
  const attended = state.seats.some((seat) => seat.role === "driver" && seat.connected);
  const stands = (approval: Approval): boolean => approval.remaining_ms !== undefined && (approval.deadline === undefined) === attended;
  if (approvals.every(stands)) return approvals;
  return approvals.map((approval) => {
    if (stands(approval)) return approval;
    const { deadline, ...rest } = approval;
    // Where the machine's clock was put back meanwhile, no time is given that there never was.
    if (attended) return { ...rest, remaining_ms: deadline === undefined ? policy.ms : Math.min(rest.remaining_ms ?? policy.ms, Math.max(0, deadline - at)) };
    const remaining_ms = approval.remaining_ms ?? policy.ms;
    return { ...rest, remaining_ms, deadline: at + remaining_ms };
  });
}

function fold(state: SessionState, event: SessionEvent, { at, seq }: Frame): SessionState {
  switch (event.type) {
    case "session_started":
      return {
        ...state,
        life: event.life,
        life_state: "live",
        workdir: event.workdir,
        agent: event.agent,
        model: event.model,
        title: event.title ?? state.title,
        policy: event.policy ?? { type: "hold" },
        sandbox: event.sandbox ?? "off",
        // Of the same agent: it is taken up where it was.
        agent_facts: event.agent === state.agent ? state.agent_facts : noFacts,
        chosen: { ...(event.agent === state.agent ? state.chosen : nothingChosen), title: state.chosen.title || event.title !== undefined },
      };
    case "session_stopped":
      return { ...state, life_state: "stopped", seats: [], driver_requests: [], turn: null, approvals: [], queue: [], calls: [] };
    case "seat_taken":
      return { ...state, seats: [...state.seats, { seat_id: event.seat_id, role: event.role, label: event.label, connected: true, since: at }] };
    case "seat_lost":
    case "seat_resumed":
      return {
        ...state,
        seats: state.seats.map((seat) => (seat.seat_id === event.seat_id ? { ...seat, connected: event.type === "seat_resumed", since: at } : seat)),
      };
    case "seat_left":
      return { ...state, seats: state.seats.filter((seat) => seat.seat_id !== event.seat_id), driver_requests: without(state, event.seat_id) };
    case "driver_requested": {
      const label = state.seats.find((seat) => seat.seat_id === event.seat_id)?.label ?? "";
      return { ...state, driver_requests: [...without(state, event.seat_id), { seat_id: event.seat_id, label, at, lapses_at: event.lapses_at }] };
    }
    case "driver_request_lapsed":
      return { ...state, driver_requests: without(state, event.seat_id) };
    case "driver_changed":
      return {
        ...state,
        seats: state.seats.map((seat) =>
          seat.seat_id === event.to ? { ...seat, role: "driver" } : seat.seat_id === event.from ? { ...seat, role: "viewer" } : seat,
        ),
        driver_requests: without(state, event.to),
      };
    case "prompt_accepted":
      return {
        ...state,
        queue: [...state.queue, { prompt_id: event.prompt_id, parts: event.parts, by: event.by, held: false, when_busy: event.when_busy, seq, at }],
      };
    case "prompt_edited":
      return { ...state, queue: state.queue.map((prompt) => (prompt.prompt_id === event.prompt_id ? { ...prompt, parts: event.parts } : prompt)) };
    case "prompt_delivered":
      return deliver(state, event, seq);
    case "prompt_withdrawn":
    case "prompt_discarded":
      return { ...state, queue: state.queue.filter((prompt) => prompt.prompt_id !== event.prompt_id) };
    case "queue_held":
    case "queue_released":
      return { ...state, queue: state.queue.map((prompt) => ({ ...prompt, held: event.type === "queue_held" })) };
    case "turn_started":
      return {
        ...state,
        turn: { turn_id: event.turn_id, prompt_ids: event.prompt_ids, started_at: at, seq, model: state.model },
        turns: state.turns + 1,
        calls: [],
        plan: [],
      };
    case "turn_ended":
      return endTurn(state, event, at, seq);
    case "agent_message_chunk":
    case "agent_thought_chunk":
      return appendText(state, event, seq);
    case "tool_call":
      return addMessage(
        { ...state, calls: [...state.calls, openCallOf(event, at)] },
        {
          type: "tool",
          id: event.tool_call_id,
          seq,
          turn_id: event.turn_id,
          cut_chars: 0,
          tool: event.tool,
          kind: event.kind,
          title: event.title,
          input: shownInput(event.input),
          status: "pending",
          text: "",
        },
      );
    case "tool_call_chunk":
      return changeMessage(state, event.tool_call_id, event.turn_id, (message) => withText(message, message.text + event.content.text));
    case "tool_call_update":
      return updateTool(state, event, at);
    case "tool_call_changed":
      return changeCall(state, event);
    case "plan":
      return { ...state, plan: event.entries };
    case "agent_facts":
      return learn(state, event.facts);
    case "agent_conversation":
      return { ...state, agent_facts: { ...state.agent_facts, conversation: event.conversation } };
    case "approval_requested":
      return { ...state, approvals: [...state.approvals, event.approval] };
    case "approval_resolved":
      return { ...state, approvals: state.approvals.filter((approval) => approval.approval_id !== event.approval_id) };
    case "rule_added":
      return { ...state, rules: [...state.rules, event.rule] };
    case "rule_forgotten":
      return { ...state, rules: state.rules.filter((rule) => rule.rule_id !== event.rule_id) };
    case "session_configured":
      return configure(state, event);
    case "notice":
      return addMessage(state, { type: "notice", id: `notice-${seq}`, seq, cut_chars: 0, text: event.text });
    case "system_message":
      return addMessage(state, { type: "notice", id: `notice-${seq}`, seq, cut_chars: 0, text: event.text, by: event.by });
    default:
      return state;
  }
}

const without = (state: SessionState, seatId: string | null) => state.driver_requests.filter((request) => request.seat_id !== seatId);

/** Another policy begins its clocks anew. */
function configure(
  state: SessionState,
  { title, starred = state.starred, model = state.model, policy, mode, options }: EventOf<"session_configured">,
): SessionState {
  const approvals = policy === undefined ? state.approvals : state.approvals.map(({ remaining_ms: _remaining, deadline: _deadline, ...approval }) => approval);
  return {
    ...state,
    title: title === undefined ? state.title : title,
    starred,
    model,
    policy: policy ?? state.policy,
    approvals,
    chosen: {
      // Where people take theirs away the agent may give one again.
      title: title === undefined ? state.chosen.title : title !== null,
      mode: mode ?? state.chosen.mode,
      options: options === undefined ? state.chosen.options : { ...state.chosen.options, ...options },
    },
    agent_facts: {
      ...state.agent_facts,
      mode: mode ?? state.agent_facts.mode,
      options: options === undefined ? state.agent_facts.options : state.agent_facts.options.map((option) => withValue(option, options[option.id])),
    },
  };
}

function withValue(option: AgentOption, value: string | boolean | undefined): AgentOption {
  if (option.type === "boolean") return typeof value === "boolean" ? { ...option, value } : option;
  return typeof value === "string" ? { ...option, value } : option;
}

/** The agent's word counts, also where something else was chosen: it may have refused that. */
function learn(state: SessionState, told: AgentFactsTold): SessionState {
  const { title, options = state.agent_facts.options, modes = state.agent_facts.modes } = told;
  const { commands = state.agent_facts.commands, use = state.agent_facts.use } = told;
  const { mode, options: wanted } = state.chosen;
  const refused = (id: string, value: string | boolean): boolean => options.some((option) => option.id === id && option.value !== value);
  return {
    ...state,
    title: title === undefined || state.chosen.title ? state.title : title,
    agent_facts: { ...state.agent_facts, mode: told.mode === undefined ? state.agent_facts.mode : told.mode, modes, options, commands, use },
    chosen: {
      ...state.chosen,
      mode: told.mode === undefined || told.mode === mode ? mode : null,
      options: Object.fromEntries(Object.entries(wanted).filter(([id, value]) => !refused(id, value))),
    },
  };
}

function deliver(state: SessionState, event: EventOf<"prompt_delivered">, seq: number): SessionState {
  const prompt = state.queue.find((queued) => queued.prompt_id === event.prompt_id);
  if (prompt === undefined) return state;
  const text = wordsOf(prompt.parts);
  const queue = state.queue.filter((queued) => queued !== prompt);
  return addMessage({ ...state, queue }, { type: "user", id: prompt.prompt_id, seq, turn_id: event.turn_id, cut_chars: 0, text, by: prompt.by });
}

function endTurn(state: SessionState, event: EventOf<"turn_ended">, at: number, seq: number): SessionState {
  const { turn_id, stop_reason, error, usage } = event;
  const ended: SessionState = {
    ...state,
    turn: null,
    calls: [],
    rules: state.rules.some((rule) => rule.turn_id === turn_id) ? state.rules.filter((rule) => rule.turn_id !== turn_id) : state.rules,
    last_turn: { turn_id, stop_reason, ended_at: at, ...(error && { error }) },
    usage: { input_tokens: state.usage.input_tokens + (usage?.input_tokens ?? 0), output_tokens: state.usage.output_tokens + (usage?.output_tokens ?? 0) },
  };
  return error === undefined ? ended : addMessage(ended, { type: "notice", id: `notice-${seq}`, seq, turn_id, cut_chars: 0, text: error.message });
}

type TextChunk = EventOf<"agent_message_chunk" | "agent_thought_chunk">;
const isText = (event: SessionEvent): event is TextChunk => event.type === "agent_message_chunk" || event.type === "agent_thought_chunk";
const messageType = (event: TextChunk) => (event.type === "agent_message_chunk" ? "agent" : "thought");

/** The message that the chunk is a part of. A message id names one message; thought and answer of one step may share it. */
function continued({ messages }: SessionState, event: TextChunk): Message | undefined {
  const last = messages.at(-1);
  return last?.type === messageType(event) && last.id === event.message_id ? last : undefined;
}

function appendText(state: SessionState, event: TextChunk, seq: number): SessionState {
  const last = continued(state, event);
  if (last !== undefined) return replaceAt(state, state.messages.length - 1, withText(last, last.text + event.content.text));
  return addMessage(state, { type: messageType(event), id: event.message_id, seq, turn_id: event.turn_id, cut_chars: 0, text: event.content.text });
}

const openCallOf = ({ tool_call_id, tool, kind, title, locations = [] }: EventOf<"tool_call">, at: number): SessionState["calls"][number] => ({
  tool_call_id,
  tool,
  kind,
  title,
  status: "pending",
  locations,
  since: at,
});

function updateTool(state: SessionState, event: EventOf<"tool_call_update">, at: number): SessionState {
  const { status, tool_call_id, turn_id, result } = event;
  const call = state.calls.find((open) => open.tool_call_id === tool_call_id);
  const open = status === "in_progress";
  const calls = state.calls.flatMap((each) => (each !== call ? [each] : open ? [{ ...each, status, since: at }] : []));
  const files = call?.kind === "edit" && status === "completed" ? touched(state, call, at) : state.files;
  return changeMessage({ ...state, calls, files }, tool_call_id, turn_id, (message) => {
    const updated = message.type === "tool" ? { ...message, status } : message;
    return result === undefined ? updated : withText({ ...updated, cut_chars: 0 }, result);
  });
}

/** Of a call that has ended, too: agents tell late where they were. */
function changeCall(state: SessionState, { tool_call_id, turn_id, title, kind, input, locations }: EventOf<"tool_call_changed">): SessionState {
  const given = { ...(title !== undefined && { title }), ...(kind !== undefined && { kind }) };
  const calls = state.calls.map((call) => (call.tool_call_id === tool_call_id ? { ...call, ...given, ...(locations && { locations }) } : call));
  const message = findTool(state, tool_call_id, turn_id);
  if (message === undefined) return { ...state, calls };
  const changed = { ...message, ...given, ...(input !== undefined && { input: shownInput(input) }) };
  const messages = state.messages.map((each) => (each === message ? changed : each));
  return trimmed({ ...state, calls, messages, messages_chars: state.messages_chars + sizeOf(changed) - sizeOf(message) });
}

/** A larger one is in the journal alone. */
const shownInput = (input: Record<string, unknown>): Record<string, unknown> | null =>
  JSON.stringify(input).length <= limits.tool_input_chars_max ? input : null;

function touched(state: SessionState, call: SessionState["calls"][number], at: number): SessionState["files"] {
  const paths = call.locations.map(({ path }) => path);
  const kept = state.files.filter((file) => !paths.includes(file.path));
  return [...kept, ...paths.map((path) => ({ path, kind: call.kind, tool_call_id: call.tool_call_id, at }))].slice(-limits.files_touched_max);
}

const findTool = (state: SessionState, id: string, turnId: string) =>
  state.messages.findLast((message) => message.type === "tool" && message.id === id && message.turn_id === turnId) as
    | Extract<Message, { type: "tool" }>
    | undefined;

function changeMessage(state: SessionState, id: string, turnId: string, change: (message: Message) => Message): SessionState {
  const message = findTool(state, id, turnId);
  return message === undefined ? state : replaceAt(state, state.messages.lastIndexOf(message), change(message));
}

/** Text over the bound keeps its end. It is cut to half, so that appending stays cheap. */
function withText<M extends Message>(message: M, text: string): M {
  if (text.length <= limits.message_chars_max) return { ...message, text };
  const cut = text.length - limits.message_chars_max / 2;
  return { ...message, text: text.slice(cut), cut_chars: message.cut_chars + cut };
}

const sizeOf = (message: Message): number =>
  message.text.length + (message.type === "tool" && message.input !== null ? JSON.stringify(message.input).length : 0);

function addMessage(state: SessionState, message: Message): SessionState {
  const added = withText(message, message.text);
  return trimmed({ ...state, messages: [...state.messages, added], messages_chars: state.messages_chars + sizeOf(added) });
}

function replaceAt(state: SessionState, index: number, message: Message): SessionState {
  const before = state.messages[index];
  if (before === undefined) return state;
  const messages = [...state.messages];
  messages[index] = message;
  return trimmed({ ...state, messages, messages_chars: state.messages_chars + message.text.length - before.text.length });
}

function trimmed(state: SessionState): SessionState {
  let drop = Math.max(0, state.messages.length - limits.state_messages_max);
  let chars = state.messages_chars;
  for (const message of state.messages.slice(0, drop)) chars -= sizeOf(message);
  while (chars > limits.state_messages_chars_max && drop < state.messages.length - 1) {
    const message = state.messages[drop++];
    if (message !== undefined) chars -= sizeOf(message);
  }
  if (drop === 0) return state;
  const messages = state.messages.slice(drop);
  return { ...state, messages, messages_chars: chars, older_before: messages[0]?.seq ?? null };
}

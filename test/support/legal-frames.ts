import fc from "fast-check";
import { frameSchema, limits } from "@sessiond/shared";
import type { EventOf, Frame, SessionEvent } from "@sessiond/shared";

/** Random sequences of frames as a session could write them, from a list of random numbers. */
const id = (kind: string, n: number): string => `${kind}_${String(n).padStart(22, "0")}`;

interface Model {
  life: number;
  live: boolean;
  turn: string | null;
  queue: string[];
  seats: string[];
  driver: string | null;
  requests: string[];
  rules: string[];
  calls: { id: string; status: "pending" | "in_progress" }[];
  approvals: { id: string; call: string }[];
  message: number;
  made: number;
}

const texts = ["", "a", "longer text ", "\u0000\u001b[2K", "\ud83d\ude00", "é".repeat(50), "x".repeat(3_000), "y".repeat(70_000), "z".repeat(140_000)];

/** Who drives, asks to, and no longer does. */
function ofSeats(model: Model, [, size, pick]: readonly [number, number, number], made: number): SessionEvent[] {
  const seat = model.seats[pick % Math.max(1, model.seats.length)];
  switch (size % 6) {
    case 0: {
      if (model.driver !== null) return [{ type: "seat_lost", seat_id: model.driver, grace_ms: 1 }];
      const seat_id = id("seat", made);
      model.seats.push(seat_id);
      model.driver = seat_id;
      return [{ type: "seat_taken", seat_id, role: "driver", label: `label ${made}` }];
    }
    case 1:
      return model.driver === null ? [] : [{ type: "seat_resumed", seat_id: model.driver }];
    case 2:
      if (seat === undefined || seat === model.driver) return [];
      model.requests = [...model.requests.filter((asking) => asking !== seat), seat];
      return [{ type: "driver_requested", seat_id: seat, lapses_at: made }];
    case 3: {
      const lapsed = model.requests.shift();
      return lapsed === undefined ? [] : [{ type: "driver_request_lapsed", seat_id: lapsed }];
    }
    case 4: {
      if (seat === undefined || seat === model.driver) return [];
      const from = model.driver;
      model.driver = seat;
      model.requests = model.requests.filter((asking) => asking !== seat);
      return [{ type: "driver_changed", from, to: seat, cause: from === null ? "taken" : "forced" }];
    }
    default: {
      if (model.driver === null || pick % 2 === 0) return [];
      const from = model.driver;
      model.driver = null;
      return [{ type: "driver_changed", from, to: null, cause: "yielded" }];
    }
  }
}

/** What an agent tells of itself; each part is there or not. */
function factsOf(size: number, made: number): EventOf<"agent_facts">["facts"] {
  return {
    ...(size % 2 === 0 && { title: `of the agent ${made}` }),
    ...(size % 3 === 0 && { mode: size % 9 === 0 ? null : size % 2 === 0 ? "plan" : "build", modes: [{ id: "plan", name: "Plan" }] }),
    ...(size % 5 === 0 && {
      options: [
        { type: "select", id: "effort", name: "Effort", value: size % 2 === 0 ? "high" : "low", choices: [{ id: "high", name: "High" }] },
        { type: "boolean", id: "web", name: "Web", value: size % 4 === 0 },
      ],
    }),
    ...(size % 7 === 0 && { use: size % 14 === 0 ? null : { used: size, size: made }, commands: [{ name: "review", description: "d" }] }),
  };
}

/** What is set, noted and remembered. */
function ofSettings(model: Model, [, size, pick]: readonly [number, number, number], made: number): SessionEvent[] {
  const by = { label: "editor" };
  const text = texts[size % texts.length] ?? "";
  switch (pick % 7) {
    case 5:
      return [{ type: "agent_facts", facts: factsOf(size, made) }];
    case 6:
      return [{ type: "agent_conversation", conversation: `conversation ${size % 3}`, how: size % 2 === 0 ? "new" : "resumed" }];
    case 0:
      return [{ type: "system_message", text, by }];
    case 1:
      return [
        {
          type: "session_configured",
          by,
          ...(size % 2 === 0 && { title: size % 4 === 0 ? null : `title ${made}` }),
          ...(size % 3 === 0 && { starred: size % 6 === 0 }),
          ...(size % 5 === 0 && { model: `m${made}` }),
          ...(size % 11 < 4 && { mode: size % 2 === 0 ? "plan" : "build" }),
          ...(size % 13 < 6 && { options: { effort: size % 2 === 0 ? "high" : "low", web: size % 3 === 0 } }),
          ...(size % 7 < 3 && { policy: size % 7 === 0 ? { type: "hold" } : { type: "reject_after", ms: size % 5_000 } }),
        },
      ];
    case 2: {
      const rule_id = model.rules.shift();
      return rule_id === undefined ? [] : [{ type: "rule_forgotten", rule_id, by }];
    }
    case 3: {
      if (model.rules.length >= limits.rules_max) return [];
      const ofTurn = model.turn !== null && size % 2 === 0;
      const rule_id = id("rul", made);
      if (!ofTurn) model.rules.push(rule_id);
      const pattern = size % 3 === 0 ? ({ type: "path", path: `/w/${made}` } as const) : ({ type: "command", command: "make", directory: "/w" } as const);
      const scope = ofTurn ? { scope: "turn" as const, turn_id: model.turn ?? "" } : { scope: "session" as const };
      return [{ type: "rule_added", rule: { rule_id, effect: size % 5 === 0 ? "reject" : "allow", tool: "shell", pattern, by, at: made, ...scope } }];
    }
    default: {
      const prompt_id = model.queue[size % Math.max(1, model.queue.length)];
      return prompt_id === undefined ? [] : [{ type: "prompt_edited", prompt_id, parts: [{ type: "text", text }], by }];
    }
  }
}

/** One legal event, chosen by `dice`; null where the dice name nothing that is legal now. */
function next(model: Model, [what, size, pick]: readonly [number, number, number]): SessionEvent[] {
  const made = ++model.made;
  const text = { type: "text" as const, text: texts[size % texts.length] ?? "" };
  const by = { label: "editor" };
  if (!model.live) {
    model.live = true;
    model.life += 1;
    const given = {
      ...(size % 2 === 0 && { title: `title ${made}` }),
      ...(pick % 2 === 0 && { policy: { type: "reject_after" as const, ms: size % 5_000 } }),
      ...(size % 3 === 0 && { sandbox: "network" as const }),
    };
    return [{ type: "session_started", life: model.life, workdir: "/w", agent: "a", model: "m", ...given }];
  }
  const turn_id = model.turn ?? "";
  const call = model.calls[pick % Math.max(1, model.calls.length)];
  if (what % 20 >= 18) return ofSeats(model, [what, size, pick], made);
  if (what % 20 >= 16) return ofSettings(model, [what, size, pick], made);
  switch (what % 20) {
    case 0: {
      const seat_id = id("seat", made);
      model.seats.push(seat_id);
      return [{ type: "seat_taken", seat_id, role: "viewer", label: `label ${made}` }];
    }
    case 1: {
      const seat_id = model.seats[pick % Math.max(1, model.seats.length)];
      if (seat_id === undefined) return [];
      if (size % 2 === 0)
        return [
          { type: "seat_lost", seat_id, grace_ms: 1 },
          { type: "seat_resumed", seat_id },
        ];
      model.seats = model.seats.filter((seat) => seat !== seat_id);
      model.requests = model.requests.filter((seat) => seat !== seat_id);
      const role = model.driver === seat_id ? "driver" : "viewer";
      if (role === "driver") model.driver = null;
      return [{ type: "seat_left", seat_id, role, cause: "detach" }];
    }
    case 2: {
      const prompt_id = id("prm", made);
      if (model.queue.length < 5) model.queue.push(prompt_id);
      else return [];
      return [{ type: "prompt_accepted", prompt_id, parts: [text], digest: "d", when_busy: "queue", became: "queued", by }];
    }
    case 3: {
      const prompt_id = model.queue.shift();
      if (prompt_id === undefined) return [];
      if (pick % 4 === 0) return [{ type: "prompt_withdrawn", prompt_id, by }];
      if (model.turn !== null) return [{ type: "prompt_discarded", prompt_id, cause: "stop" }];
      model.turn = id("trn", made);
      return [
        { type: "turn_started", turn_id: model.turn, prompt_ids: [prompt_id] },
        { type: "prompt_delivered", prompt_id, turn_id: model.turn },
      ];
    }
    case 4:
      return model.queue.length > 0 ? [{ type: "queue_held", cause: "interrupt" }] : [{ type: "queue_released", by }];
    case 5:
      if (model.turn !== null && pick % 3 === 0)
        return [{ type: "plan", turn_id, entries: [{ content: `step ${made}`, priority: "high", status: "pending" }] }];
      if (model.turn !== null && pick % 3 === 1 && call !== undefined)
        return [
          {
            type: "tool_call_changed",
            turn_id,
            tool_call_id: call.id,
            ...(size % 2 === 0 && { title: `title ${made}` }),
            ...(size % 3 === 0 && { kind: "fetch", input: { text: text.text } }),
            ...(size % 5 === 0 && { locations: [{ path: `f${size % 9}`, line: 3 }], diffs: [{ path: "f", old_text: null, new_text: text.text.slice(0, 9) }] }),
          },
        ];
      return [{ type: "notice", code: "journal_cut", text: text.text }];
    case 6:
      if (pick % 8 !== 0) return [];
      Object.assign(model, { live: false, turn: null, queue: [], seats: [], driver: null, requests: [], calls: [], approvals: [] });
      return [{ type: "session_stopped", life: model.life, by }];
    default:
      break;
  }
  if (model.turn === null) return [];
  switch (what % 20) {
    case 7:
    case 8:
      model.message += pick % 3 === 0 ? 1 : 0;
      return [{ type: "agent_message_chunk", turn_id, message_id: `m${model.message}`, content: text }];
    case 9:
      return [{ type: "agent_thought_chunk", turn_id, message_id: `m${model.message}`, content: text }];
    case 10: {
      const tool_call_id = `c${made}`;
      model.calls.push({ id: tool_call_id, status: "pending" });
      return [
        {
          type: "tool_call",
          turn_id,
          tool_call_id,
          message_id: `m${model.message}`,
          tool: "shell",
          kind: size % 2 === 0 ? "edit" : "execute",
          title: "t",
          input: { text: text.text },
          ...(pick % 2 === 0 && { locations: [{ path: `f${pick % 300}` }] }),
        },
      ];
    }
    case 11:
      if (call?.status !== "pending" || model.approvals.some((open) => open.call === call.id)) return [];
      model.approvals.push({ id: id("apr", made), call: call.id });
      return [
        {
          type: "approval_requested",
          approval: {
            approval_id: id("apr", made),
            turn_id,
            tool_call_id: call.id,
            tool: "shell",
            input: {},
            preview: "p",
            digest: "0".repeat(64),
            asked_at: made,
            options: [{ option_id: "allow_once", kind: "allow_once", label: "Allow", remembers: null }],
            ...(pick % 2 === 0 && { pattern: { type: "command", command: "make", directory: "/w" } }),
          },
        },
      ];
    case 12: {
      const open = model.approvals.shift();
      return open === undefined ? [] : [{ type: "approval_resolved", approval_id: open.id, cause: "answer", option_id: "allow_once", by }];
    }
    case 13:
      // Calls run one after another.
      if (
        call?.status !== "pending" ||
        model.calls.some((running) => running.status === "in_progress") ||
        model.approvals.some((open) => open.call === call.id)
      )
        return [];
      call.status = "in_progress";
      return [{ type: "tool_call_update", turn_id, tool_call_id: call.id, status: "in_progress" }];
    case 14: {
      const running = model.calls.find((candidate) => candidate.status === "in_progress");
      if (running === undefined) return [];
      if (pick % 3 > 0) return [{ type: "tool_call_chunk", turn_id, tool_call_id: running.id, content: text }];
      model.calls = model.calls.filter((candidate) => candidate !== running);
      return [{ type: "tool_call_update", turn_id, tool_call_id: running.id, status: "completed", result: text.text }];
    }
    default: {
      if (pick % 3 > 0) return [];
      const closing: SessionEvent[] = [
        ...model.approvals.map((open) => ({ type: "approval_resolved" as const, approval_id: open.id, cause: "failed" as const })),
        ...model.calls.map((open) => ({ type: "tool_call_update" as const, turn_id, tool_call_id: open.id, status: "failed" as const, result: "unrun" })),
        {
          type: "turn_ended",
          turn_id,
          stop_reason: size % 2 === 0 ? "end_turn" : "failed",
          ...(size % 2 === 1 && { error: { code: "x", message: text.text.slice(0, limits.failure_chars_max) } }),
          usage: { input_tokens: size, output_tokens: 1 },
        },
      ];
      Object.assign(model, { turn: null, calls: [], approvals: [] });
      return closing;
    }
  }
}

/** Sequences of up to about `steps` frames, seqs dense from 1; each frame passes the schema. */
export const legalFrames = (steps: number): fc.Arbitrary<Frame[]> =>
  fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat()), { minLength: 1, maxLength: steps, size: "max" }).map((dice) => {
    const model: Model = {
      life: 0,
      live: false,
      turn: null,
      queue: [],
      seats: [],
      driver: null,
      requests: [],
      rules: [],
      calls: [],
      approvals: [],
      message: 0,
      made: 0,
    };
    // Now and then the machine's clock is put back.
    const events = dice.flatMap((throwOf) => next(model, throwOf).map((event) => ({ event, back: throwOf[2] % 31 === 0 ? 5_000 : 0 })));
    return events.map(({ event, back }, index) => frameSchema.parse({ seq: index + 1, at: 10_000 + index * 50 - back, event }));
  });

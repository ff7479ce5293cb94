/** What a person is shown of the events around the agent's work: the words themselves, without a terminal. */
import { emptyState, reduce, type Approval, type Frame, type SessionEvent, type SessionState } from "@sessiond/shared";
import { expect, test } from "vitest";
import { Screen } from "../../packages/cli/src/screen.ts";
import { Transcript } from "../../packages/cli/src/transcript.ts";

const id = (kind: string, letter: string): string => `${kind}_${letter.repeat(22)}`;
const [ada, bo, turn] = [id("seat", "A"), id("seat", "B"), id("trn", "T")];
const by = { seat_id: bo, label: "bo" };
const start = 1_000_000;

/** A session that bo and ada sit in, seen from one of their seats. */
class Seen {
  state: SessionState = emptyState(id("ses", "S"));
  #out = "";
  readonly #transcript: Transcript;

  constructor(ownSeat: string | null, slash = true) {
    const screen = new Screen({ write: (text) => (this.#out += text) }, { write: (text) => (this.#out += text) });
    this.#transcript = new Transcript(screen, { history: 20, surroundings: true, slash, ownSeat: () => ownSeat, state: () => this.state });
    this.#fold({ type: "session_started", life: 1, workdir: "/w", agent: "openai", model: "practice" }, start);
    this.#fold({ type: "seat_taken", seat_id: ada, role: "driver", label: "ada" }, start);
    this.#fold({ type: "seat_taken", seat_id: bo, role: "viewer", label: "bo" }, start);
    this.#transcript.event({ type: "snapshot", state: this.state });
  }

  /** What these events add to the screen, `at` milliseconds after the start. */
  after(events: readonly SessionEvent[], at = 0): string[] {
    this.#out = "";
    for (const event of events) this.#transcript.event({ type: "frame", frame: this.#fold(event, start + at) });
    return this.#lines();
  }

  /** The same where all of them came in one batch: the seat has them before any is shown. */
  afterBatch(events: readonly SessionEvent[]): string[] {
    this.#out = "";
    for (const frame of events.map((event) => this.#fold(event, start))) this.#transcript.event({ type: "frame", frame });
    return this.#lines();
  }

  #lines(): string[] {
    return this.#out.split("\n").slice(0, -1);
  }

  #fold(event: SessionEvent, at: number): Frame {
    const frame: Frame = { seq: this.state.seq + 1, at, event };
    this.state = reduce(this.state, frame);
    return frame;
  }
}

const changed = (from: string | null, to: string | null, cause: "taken" | "forced" | "yielded" | "granted"): SessionEvent => ({
  type: "driver_changed",
  from,
  to,
  cause,
});
const asked: SessionEvent = { type: "driver_requested", seat_id: bo, lapses_at: start + 30_000 };
const question = (more: Partial<Approval> = {}): SessionEvent => ({
  type: "approval_requested",
  approval: {
    approval_id: id("apr", "Q"),
    turn_id: turn,
    tool_call_id: "c1",
    tool: "shell",
    input: {},
    preview: "$ npm test",
    options: [
      { option_id: "allow_once", kind: "allow_once", label: "Allow once", remembers: null },
      { option_id: "allow_always", kind: "allow_always", label: "Always", remembers: "Always: npm test" },
      { option_id: "reject_once", kind: "reject_once", label: "Reject", remembers: null },
    ],
    digest: "0".repeat(64),
    asked_at: start,
    ...more,
  },
});
const resolved = (more: Partial<Extract<SessionEvent, { type: "approval_resolved" }>>): SessionEvent => ({
  type: "approval_resolved",
  approval_id: id("apr", "Q"),
  cause: "answer",
  ...more,
});

test("B16 the driver is shown who asks for the wheel, what to type, and until when; others that somebody asks", () => {
  expect(new Seen(ada).after([asked])).toEqual(["! bo asks for the wheel: /yield gives it, it lapses in 30 s"]);
  expect(new Seen(ada, false).after([asked])).toEqual(["! bo asks for the wheel: `sessiond yield` gives it, it lapses in 30 s"]);
  expect(new Seen(bo).after([asked])).toEqual(["— asking ada for the wheel; it lapses in 30 s"]);
  expect(new Seen(id("seat", "C")).after([asked])).toEqual(["— bo asks for the wheel"]);
  const lapsed: SessionEvent = { type: "driver_request_lapsed", seat_id: bo };
  expect(new Seen(ada).after([lapsed])).toEqual(["— nobody answered bo: the wheel stays where it is"]);
  expect(new Seen(bo).after([lapsed])).toEqual(["— nobody answered: the wheel stays where it is"]);
});

test("B14 a change of driver is told to each in its own words: who lost it, who got it, who looks on", () => {
  const told = (event: SessionEvent): string[] => [ada, bo, id("seat", "C")].flatMap((seat) => new Seen(seat).after([event]));
  expect(told(changed(ada, bo, "forced"))).toEqual([
    "! bo took the wheel: you watch now, /take ask asks for the wheel",
    "— you took the wheel from ada",
    "— bo took the wheel from ada",
  ]);
  expect(told(changed(ada, bo, "yielded"))).toEqual([
    "— bo drives now: you watch, /take ask asks for the wheel",
    "— ada gave you the wheel: you drive",
    "— ada gave the wheel to bo",
  ]);
  expect(told(changed(ada, null, "yielded"))).toEqual([
    "— nobody drives: you watch, /take takes the wheel",
    "— ada let go of the wheel",
    "— ada let go of the wheel",
  ]);
  expect(new Seen(bo).after([changed(null, bo, "granted")])).toEqual(["— you drive now"]);
});

test("B28 under reject_after the time that is left is shown: standing while somebody drives, running from when nobody does", () => {
  const seen = new Seen(id("seat", "C"));
  seen.after([{ type: "session_configured", policy: { type: "reject_after", ms: 600_000 }, by }]);
  expect(seen.after([question()])).toEqual([
    `? shell asks for permission (${id("apr", "Q")})`,
    "  │ $ npm test",
    "  10 min left to answer; the clock stands while a driver is here",
  ]);
  expect(seen.after([changed(ada, null, "yielded")], 60_000)).toEqual([
    "— ada let go of the wheel",
    "  shell: nobody drives: refused in 10 min unless answered",
  ]);
  expect(seen.after([resolved({ cause: "deadline" })], 660_000)).toEqual(["  refused: nobody answered in time, and nobody drove"]);
});

test("B25 a question that waits for ever shows no clock", () => {
  expect(new Seen(ada).after([question()])).toEqual([`? shell asks for permission (${id("apr", "Q")})`, "  │ $ npm test"]);
});

test("B27 each way out of a question is told, with the rule, the reason and who; also of one that was never shown", () => {
  const rule = {
    rule_id: id("rul", "R"),
    effect: "allow" as const,
    scope: "session" as const,
    tool: "shell",
    pattern: { type: "command" as const, command: "npm test", directory: "/w" },
    by,
    at: start,
  };
  const seen = new Seen(ada);
  expect(seen.after([question(), resolved({ option_id: "reject_once", reason: "not now", by })]).at(-1)).toBe("  refused by bo: not now");
  expect(seen.after([question(), resolved({ option_id: "allow_always", by: { seat_id: ada, label: "ada" } })]).slice(-2)).toEqual([
    "  allowed",
    "  remembered: Always: npm test",
  ]);
  expect(seen.after([{ type: "rule_added", rule }])).toEqual(["  remembered this session: allow shell: npm test, in /w (rul_RRRRRRRR)"]);
  expect(seen.after([resolved({ approval_id: id("apr", "Z"), cause: "rule", rule_id: rule.rule_id, option_id: "allow_session" })])).toEqual([
    "  allowed by rule rul_RRRRRRRR: allow shell: npm test, in /w",
  ]);
  expect(seen.after([resolved({ approval_id: id("apr", "Z"), cause: "interrupt" })])).toEqual(["  the question was closed: interrupt"]);
  expect(seen.after([{ type: "rule_forgotten", rule_id: rule.rule_id, by }])).toEqual(["— a remembered answer was forgotten by bo (rul_RRRRRRRR)"]);
});

test("B27 a question that is closed in the same batch: one that a rule answered is a line, one that a person answered is shown whole", () => {
  const seen = new Seen(ada);
  expect(seen.afterBatch([question(), resolved({ cause: "rule", rule_id: id("rul", "R"), option_id: "reject_always" })])).toEqual([
    "  refused by rule rul_RRRRRRRR; `sessiond rules list` shows it",
  ]);
  expect(seen.afterBatch([question(), resolved({ option_id: "allow_once", by })])).toEqual([
    `? shell asks for permission (${id("apr", "Q")})`,
    "  │ $ npm test",
    "  allowed by bo",
  ]);
});

test("B19 how a prompt waits is told: steering, next, queued; and that it was edited", () => {
  const accepted = (when_busy: "steer" | "queue" | "interrupt", seat: typeof by, letter: string): SessionEvent => ({
    type: "prompt_accepted",
    prompt_id: id("prm", letter),
    parts: [{ type: "text", text: "go on" }],
    digest: "d",
    when_busy,
    became: when_busy === "steer" ? "steering" : "queued",
    by: seat,
  });
  const own = { seat_id: ada, label: "ada" };
  const seen = new Seen(ada);
  expect(seen.after([accepted("steer", own, "a")])).toEqual(["— it joins the running turn before the agent's next step"]);
  expect(seen.after([accepted("interrupt", by, "b")])).toEqual(["— bo ends the running turn with a prompt that runs next"]);
  expect(seen.after([accepted("queue", by, "c")])).toEqual(["— bo queued a prompt; it runs when the turns before it have ended"]);
  expect(seen.after([{ type: "prompt_edited", prompt_id: id("prm", "c"), parts: [{ type: "text", text: "only the tests" }], by }])).toEqual([
    "— a queued prompt was edited by bo",
  ]);
  // What runs is what it was edited to.
  expect(seen.after([{ type: "prompt_delivered", prompt_id: id("prm", "c"), turn_id: turn }])).toEqual(["> only the tests  (bo)"]);
});

test("B25 notes, settings and labels of others give no orders to the terminal", () => {
  const seen = new Seen(ada);
  const evil = "\u001b[2Jx\u202e\ny";
  const lines = seen.after([
    { type: "system_message", text: evil, by: { label: evil } },
    { type: "session_configured", title: evil, starred: true, model: "m2", by },
    { type: "seat_taken", seat_id: id("seat", "D"), role: "viewer", label: evil },
  ]);
  expect(lines).toEqual([
    "# \\u{1b}[2Jx\\u{202e} ⏎ y (\\u{1b}[2Jx\\u{202e} ⏎ y)",
    "— bo set the title: \\u{1b}[2Jx\\u{202e} ⏎ y, a star, the model: m2",
    "— \\u{1b}[2Jx\\u{202e} ⏎ y is watching",
  ]);
});

/** What a person is shown of agents of other makers: calls that change, diffs, plans, modes, their own answers. The words themselves, without a terminal. */
import { emptyState, reduce, type Approval, type ApprovalOption, type Frame, type PlanEntry, type SessionEvent, type SessionState } from "@sessiond/shared";
import { describe, expect, test } from "vitest";
import { diffLines } from "../../packages/cli/src/diff-lines.ts";
import { offersOf, offerTyped, showOffers, showQuestion } from "../../packages/cli/src/question.ts";
import { Screen } from "../../packages/cli/src/screen.ts";
import { Transcript } from "../../packages/cli/src/transcript.ts";
import { deceptionsIn, hostileTexts } from "../support/hostile-text.ts";

const id = (kind: string, letter: string): string => `${kind}_${letter.repeat(22)}`;
const [ada, turn_id] = [id("seat", "A"), id("trn", "T")];
const by = { seat_id: ada, label: "ada" };
const workdir = "/home/me/app";

/** A session whose agent is another program, looked at by ada. */
class Seen {
  state: SessionState = emptyState(id("ses", "S"));
  #out = "";
  readonly #transcript: Transcript;

  constructor(before: readonly SessionEvent[] = []) {
    const screen = new Screen({ write: (text) => (this.#out += text) }, { write: (text) => (this.#out += text) });
    this.#transcript = new Transcript(screen, { history: 20, surroundings: true, ownSeat: () => ada, state: () => this.state });
    this.#fold({ type: "session_started", life: 1, workdir, agent: "gemini", model: "" });
    this.#fold({ type: "turn_started", turn_id, prompt_ids: [id("prm", "P")] });
    for (const event of before) this.#fold(event);
    this.#transcript.event({ type: "snapshot", state: this.state });
  }

  get out(): string {
    return this.#out;
  }

  after(...events: readonly SessionEvent[]): string[] {
    this.#out = "";
    for (const event of events) this.#transcript.event({ type: "frame", frame: this.#fold(event) });
    return this.#out.split("\n").slice(0, -1);
  }

  #fold(event: SessionEvent): Frame {
    const frame: Frame = { seq: this.state.seq + 1, at: 1_000, event };
    this.state = reduce(this.state, frame);
    return frame;
  }
}

type EventOf<T extends SessionEvent["type"]> = Extract<SessionEvent, { type: T }>;
const call = (tool_call_id: string, more: Partial<EventOf<"tool_call">> = {}): SessionEvent => ({
  type: "tool_call",
  turn_id,
  tool_call_id,
  message_id: "m1",
  tool: "edit",
  kind: "edit",
  title: "Edit a.ts",
  input: {},
  ...more,
});
const changed = (tool_call_id: string, more: Partial<EventOf<"tool_call_changed">>): SessionEvent => ({
  type: "tool_call_changed",
  turn_id,
  tool_call_id,
  ...more,
});
const ended = (tool_call_id: string, status: "completed" | "failed" = "completed", result?: string): SessionEvent => ({
  type: "tool_call_update",
  turn_id,
  tool_call_id,
  status,
  ...(result !== undefined && { result }),
});
const plan = (...steps: readonly (readonly [PlanEntry["status"], string])[]): SessionEvent => ({
  type: "plan",
  turn_id,
  entries: steps.map(([status, content]) => ({ content, status, priority: "medium" })),
});
const option = (option_id: string, kind: ApprovalOption["kind"], label: string, remembers: string | null = null): ApprovalOption => ({
  option_id,
  kind,
  label,
  remembers,
});
const question = (options: readonly ApprovalOption[], more: Partial<Approval> = {}): Approval => ({
  approval_id: id("apr", "Q"),
  turn_id,
  tool_call_id: "c1",
  tool: "edit",
  input: {},
  preview: "Edit a.ts",
  options: [...options],
  digest: "0".repeat(64),
  asked_at: 1_000,
  ...more,
});
const diff = { path: `${workdir}/src/a.ts`, old_text: "one\ntwo\nthree\n", new_text: "one\n2\nthree\n" };
const shownDiff = ["  ± src/a.ts (+1 -1)", "  │  one", "  │ -two", "  │ +2", "  │  three"];

describe("calls", () => {
  test("a call says where it is, and of what kind it is, unless its name or title does", () => {
    const seen = new Seen();
    expect(seen.after(call("c1", { locations: [{ path: `${workdir}/a.ts` }] }))).toEqual(["● edit: Edit a.ts"]);
    expect(seen.after(call("c2", { tool: "Bash", kind: "execute", title: "npm test" }))).toEqual(["● Bash: npm test"]);
    expect(
      seen.after(call("c3", { tool: "cleanup", kind: "delete", title: "old files", locations: [{ path: `${workdir}/b.ts`, line: 7 }, { path: "/etc/x" }] })),
    ).toEqual(["● cleanup: old files (delete)", "  at b.ts:7, /etc/x"]);
    expect(seen.after(call("c4", { tool: "mode", kind: "switch_mode", title: "to code" }))).toEqual(["● mode: to code (switch mode)"]);
  });

  test("a call that changes shows its new title and new places once; input alone is silent", () => {
    const seen = new Seen();
    seen.after(call("c1", { tool: "execute", kind: "execute", title: "Terminal" }));
    expect(seen.after(changed("c1", { title: "npm test" }))).toEqual(["  → execute: npm test"]);
    expect(seen.after(changed("c1", { title: "npm test", input: { command: "npm test" } }))).toEqual([]);
    expect(seen.after(changed("c1", { kind: "delete" }))).toEqual(["  → execute: npm test (delete)"]);
    expect(seen.after(changed("c1", { locations: [{ path: `${workdir}/a.ts`, line: 3 }] }))).toEqual(["  at a.ts:3"]);
    expect(seen.after(changed("c1", { locations: [{ path: `${workdir}/a.ts`, line: 3 }] }))).toEqual([]);
    // Another call was named meanwhile: the change says whose it is.
    seen.after(call("c2", { title: "Edit b.ts" }));
    expect(seen.after(changed("c1", { title: "npm run build" }))).toEqual(["● execute: npm test (delete)", "  → execute: npm run build (delete)"]);
    expect(seen.after(changed("never-heard-of", { title: "x" }))).toEqual([]);
  });

  test("what a call changes in files is shown once, when it is done; also what the agent tells late", () => {
    const seen = new Seen();
    expect(seen.after(call("c1", { diffs: [diff] }), changed("c1", { diffs: [diff] }))).toEqual(["● edit: Edit a.ts"]);
    expect(seen.after(ended("c1", "completed", "ok"))).toEqual(["  │ ok", ...shownDiff, "  ✓ done"]);
    expect(seen.after(changed("c1", { diffs: [diff] }))).toEqual([]);
    expect(seen.after(changed("c1", { diffs: [{ ...diff, path: `${workdir}/new.ts`, old_text: null, new_text: "x\n" }] }))).toEqual([
      "  ± new.ts (new, +1)",
      "  │ +x",
    ]);
  });

  test("a call that failed has changed nothing; a turn's end forgets its calls", () => {
    const seen = new Seen();
    seen.after(call("c1", { diffs: [diff] }));
    expect(seen.after(ended("c1", "failed"))).toEqual(["  ✗ not done"]);
    seen.after(call("c2"), { type: "turn_ended", turn_id, stop_reason: "end_turn" });
    expect(seen.after(changed("c2", { title: "late" }))).toEqual([]);
  });

  test("a diff that stands in the question is not shown once more when the call is done", () => {
    const seen = new Seen();
    seen.after(call("c1", { diffs: [diff] }), {
      type: "approval_requested",
      approval: question([option("allow_once", "allow_once", "Yes")], { preview: "Edit a.ts\n-two\n+2" }),
    });
    seen.after({ type: "approval_resolved", approval_id: id("apr", "Q"), cause: "answer", option_id: "allow_once", by });
    expect(seen.after(changed("c1", { diffs: [diff] }), ended("c1"))).toEqual(["  ✓ done"]);
  });

  test("a large diff is bounded, and says how much of it is left out", () => {
    const seen = new Seen();
    const lines = Array.from({ length: 100 }, (_, at) => `line ${at}`).join("\n");
    seen.after(call("c1", { diffs: [{ path: "big.ts", old_text: null, new_text: lines }, diff] }));
    const shown = seen.after(ended("c1"));
    expect(shown.slice(0, 2)).toEqual(["  ± big.ts (new, +100)", "  │ +line 0"]);
    expect(shown).toContain("  │ … 60 more lines");
    // Of the next one only that it is.
    expect(shown.slice(-3)).toEqual(["  ± src/a.ts (+1 -1)", "  │ … 4 more lines", "  ✓ done"]);
  });

  test("diffs: the least that went and came, with a little around it; far places apart; nothing where nothing changes", () => {
    const text = Array.from({ length: 20 }, (_, at) => `${at}`);
    const other = text.map((line) => (line === "3" || line === "15" ? `${line}!` : line));
    const lines = diffLines({ old_text: text.join("\n"), new_text: other.join("\n") }).map(({ sign, text: line }) => `${sign}${line}`);
    expect(lines).toEqual([" 1", " 2", "-3", "+3!", " 4", " 5", "…", " 13", " 14", "-15", "+15!", " 16", " 17"]);
    expect(diffLines({ old_text: "a\r\nb\r\n", new_text: "a\nb\n" })).toEqual([]);
    expect(diffLines({ old_text: null, new_text: "" })).toEqual([]);
    // Beyond what is worth comparing: all that went, then all that came.
    const many = Array.from({ length: 600 }, (_, at) => `${at}`);
    expect(diffLines({ old_text: many.join("\n"), new_text: many.map((line) => `${line}.`).join("\n") })).toHaveLength(1_200);
  });
});

describe("plans", () => {
  test("a plan is shown when it changes, and only then; a new turn begins without one", () => {
    const seen = new Seen();
    const first = plan(["completed", "read"], ["in_progress", "write"], ["pending", "test"]);
    expect(seen.after(first)).toEqual(["☰ plan, 1 of 3 done", "  ✓ read", "  ▸ write", "  · test"]);
    expect(seen.after(first)).toEqual([]);
    expect(seen.after(plan(["completed", "read"], ["completed", "write"], ["in_progress", "test"]))[0]).toBe("☰ plan, 2 of 3 done");
    expect(seen.after(plan())).toEqual(["— the agent let go of its plan"]);
    expect(
      seen.after(
        first,
        { type: "turn_ended", turn_id, stop_reason: "end_turn" },
        { type: "turn_started", turn_id: id("trn", "U"), prompt_ids: [id("prm", "R")] },
        first,
      ),
    ).toHaveLength(8);
  });

  test("B25 a step is one line, whatever stands in it", () => {
    expect(new Seen().after(plan(["pending", "read\n? shell asks for permission"]))).toEqual([
      "☰ plan, 0 of 1 done",
      "  · read ⏎ ? shell asks for permission",
    ]);
  });

  test("a long plan is counted at its ends, and what the agent works on is named; who comes later sees where it stands", () => {
    const steps = Array.from({ length: 40 }, (_, at) => [at < 20 ? "completed" : at === 20 ? "in_progress" : "pending", `step ${at}`] as const);
    const lines = new Seen().after(plan(...steps));
    expect(lines).toEqual([
      "☰ plan, 20 of 40 done",
      "  ✓ 18 more",
      "  ✓ step 18",
      "  ✓ step 19",
      "  ▸ step 20",
      ...Array.from({ length: 8 }, (_, at) => `  · step ${21 + at}`),
      "  · 11 more",
    ]);
    expect(new Seen([plan(["in_progress", "write"])]).out).toBe("☰ plan, 0 of 1 done\n  ▸ write\n");
  });
});

describe("what the agent tells of itself", () => {
  const modes = [
    { id: "ask", name: "Ask" },
    { id: "code", name: "Code freely" },
  ];

  test("another title and another mode are told; what it tells first, what people chose, and all the rest is quiet", () => {
    const seen = new Seen();
    const facts = (told: EventOf<"agent_facts">["facts"]): SessionEvent => ({ type: "agent_facts", facts: told });
    expect(seen.after(facts({ mode: "ask", modes, commands: [], use: { used: 1, size: 2 } }), facts({ use: { used: 2, size: 2 } }))).toEqual([]);
    expect(seen.after(facts({ mode: "code" }), facts({ mode: "code" }))).toEqual(["— the agent's mode is code (Code freely) now"]);
    expect(seen.after(facts({ title: "The parser" }), facts({ title: "The parser" }))).toEqual(["— the agent calls this session “The parser”"]);
    const chosen: SessionEvent = { type: "session_configured", mode: "ask", options: { effort: "high", web: true }, by };
    expect(seen.after(chosen, facts({ mode: "ask" }))).toEqual(["— you set the mode: ask, effort = high, web = true"]);
    expect(seen.after({ type: "session_configured", title: "mine", by }, facts({ title: "Another" }))).toEqual(["— you set the title: mine"]);
    expect(seen.after({ type: "agent_conversation", conversation: "abc", how: "new" })).toEqual([]);
    expect(seen.after({ type: "agent_update", turn_id, protocol: "acp", update: { sessionUpdate: "unheard_of" } })).toEqual([]);
    expect(seen.after({ type: "notice", code: "agent_lost_context", text: "gemini begins anew." })).toEqual(["! gemini begins anew."]);
  });

  test("a prompt's pictures and files are named with their size; its words stand whole", () => {
    const other = { label: "bo" };
    const accepted: SessionEvent = {
      type: "prompt_accepted",
      prompt_id: id("prm", "Z"),
      parts: [
        { type: "text", text: "look\nat this" },
        { type: "image", mime_type: "image/png", data: "A".repeat(4_096) },
        { type: "resource", uri: "file:///home/me/app/log.txt", text: "1\n2\n3\n" },
        { type: "resource_link", uri: "file:///home/me/app/b.ts", name: "b.ts" },
      ],
      digest: "d",
      when_busy: "queue",
      became: "queued",
      by: other,
    };
    const seen = new Seen();
    expect(seen.after(accepted, { type: "prompt_delivered", prompt_id: id("prm", "Z"), turn_id }).slice(1)).toEqual([
      "> look",
      "  at this",
      "  [image/png, 3 kB]",
      "  [file:///home/me/app/log.txt, 3 lines]",
      "  [b.ts](file:///home/me/app/b.ts)  (bo)",
    ]);
  });
});

describe("an agent's own answers", () => {
  const itself = "The agent remembers it itself; sessiond can neither list nor forget it.";
  const offered = question([
    option("allow_always", "allow_always", "Always allow edits", itself),
    option("allow_once", "allow_once", "Yes"),
    option("allow_once_2", "allow_once", "Yes, with my changes"),
    option("other", "other", "Ask my colleague"),
    option("other_2", "other", "Later"),
    option("reject_once", "reject_once", "No, and say what to do"),
  ]);

  test("B25 each of them has a key of its own, and is named in the agent's words", () => {
    const offers = offersOf(offered);
    expect(offers.map(({ key }) => key)).toEqual(["a", "y", "1", "o", "2", "n"]);
    for (const { key, option: wanted } of offers) expect(offerTyped(offers, key)?.option).toBe(wanted);
    expect(offerTyped(offers, "allow_once_2")?.option.label).toBe("Yes, with my changes");
    expect(offerTyped(offers, "yes")?.option.option_id).toBe("allow_once");
    let out = "";
    const screen = new Screen({ write: () => 0 }, { write: (text) => (out += text) });
    showOffers(screen, offers);
    expect(out.split("\n").slice(0, -1)).toEqual([
      `  a  Always allow edits. ${itself}`,
      "  y  Yes",
      "  1  Yes, with my changes",
      "  o  Ask my colleague",
      "  2  Later",
      "  n  No, and say what to do",
    ]);
  });

  test("B25 an answer that nobody here knows the meaning of counts neither as leave nor as refusal", () => {
    const seen = new Seen();
    seen.after({ type: "approval_requested", approval: offered });
    expect(seen.after({ type: "approval_resolved", approval_id: offered.approval_id, cause: "answer", option_id: "other", by })).toEqual([
      "  answered “Ask my colleague”",
    ]);
  });
});

test("B25 titles, paths, diffs, plans, modes and labels of an agent give no orders to the terminal", () => {
  let bytes = "";
  for (const evil of hostileTexts) {
    const seen = new Seen();
    const lines = seen.after(
      call("c1", { tool: evil, title: evil, locations: [{ path: `/${evil}` }] }),
      changed("c1", { title: `x ${evil}`, locations: [{ path: evil }], diffs: [{ path: evil, old_text: `a\n${evil}`, new_text: `b\n${evil}\n${evil}!` }] }),
      ended("c1", "completed", evil),
      plan(["in_progress", evil]),
      { type: "agent_facts", facts: { mode: "a", modes: [] } },
      { type: "agent_facts", facts: { mode: evil, modes: [{ id: evil, name: `${evil}!` }], title: evil } },
      { type: "session_configured", mode: evil, options: { [evil]: evil }, by: { label: evil } },
    );
    bytes += lines.join("\n");
    let out = "";
    const screen = new Screen({ write: () => 0 }, { write: (text) => (out += text) });
    const asked = question([option("other", "other", evil), option("allow_once", "allow_once", evil, evil)], { tool: evil, preview: evil });
    showQuestion(screen, asked, null);
    showOffers(screen, offersOf(asked));
    bytes += out;
  }
  expect(deceptionsIn(Buffer.from(bytes), { terminal: false })).toEqual([]);
});

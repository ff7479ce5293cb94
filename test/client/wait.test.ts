import { describe, expect, test } from "vitest";
import { reached } from "../../packages/client/src/wait.ts";
import { seatId, stateAt, turnId } from "../support/wire-peer.ts";

/** What a wait takes for idle, for a question and for the end. */
const by = { seat_id: seatId, label: "test" };
const queued = (held: boolean) => ({
  prompt_id: `prm_${"P".repeat(22)}`,
  parts: [{ type: "text" as const, text: "x" }],
  by,
  held,
  when_busy: "queue" as const,
  seq: 1,
  at: 1,
});
const turn = { turn_id: turnId, prompt_ids: [], started_at: 1, seq: 1, model: "m" };

describe("B24 a session is idle", () => {
  test("when no turn runs and what is queued is held, also after a turn that failed", () => {
    expect(reached("idle", stateAt(1))).toMatchObject({ status: "idle" });
    expect(reached("idle", stateAt(1, { queue: [queued(true)] }))).not.toBeNull();
    expect(reached("idle", stateAt(1, { status: "error" }))).toMatchObject({ status: "error" });
  });

  test("and is not while a turn runs, or a prompt is about to", () => {
    expect(reached("idle", stateAt(1, { turn }))).toBeNull();
    expect(reached("idle", stateAt(1, { queue: [queued(true), queued(false)] }))).toBeNull();
  });
});

test("B35 of a stopped session only its end can be waited for", () => {
  const stopped = stateAt(1, { life_state: "stopped" });
  expect(reached("stopped", stopped)).toMatchObject({ life_state: "stopped" });
  expect(reached("stopped", stateAt(1))).toBeNull();
  for (const goal of ["idle", "approval"] as const) expect(() => reached(goal, stopped)).toThrow(expect.objectContaining({ code: "session_stopped" }));
});

test("B2 what a wait gives has no input of any question", () => {
  const approval = {
    approval_id: `apr_${"A".repeat(22)}`,
    turn_id: turnId,
    tool_call_id: "c1",
    tool: "shell",
    input: { command: "secret" },
    preview: "secret",
    options: [],
    digest: "0".repeat(64),
    asked_at: 1,
  };
  expect(reached("approval", stateAt(1))).toBeNull();
  const facts = reached("approval", stateAt(1, { approvals: [approval] }));
  expect(facts?.approvals).toEqual([{ approval_id: approval.approval_id, tool: "shell", asked_at: 1 }]);
  expect(JSON.stringify(facts)).not.toContain("secret");
});

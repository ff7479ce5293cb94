import { describe, expect, test } from "vitest";
import type { Auth, VerbName } from "@sessiond/shared";
import { staysAtRest } from "../../packages/client/src/wait-by-watching.ts";
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

describe("B24 B40 a session at rest is idle", () => {
  const sessionId = `ses_${"S".repeat(22)}`;
  const status = (boot_id: string, ready = true, draining = false) => ({ pid: 1, boot_id, ready, draining });
  const resting = { sessions: [{ session_id: sessionId }], next: null };
  /** Asks a daemon that gives these answers, one after the other. */
  const asked = async (...replies: object[]): Promise<{ idle: boolean; asked: VerbName[] }> => {
    const verbs: VerbName[] = [];
    const call = (verb: VerbName) => {
      verbs.push(verb);
      const reply = replies.shift();
      return reply === undefined ? Promise.reject(new Error("asked once too often")) : Promise.resolve(reply);
    };
    const calls = { call } as unknown as Parameters<typeof staysAtRest>[0]["calls"];
    const idle = await staysAtRest({ calls, auth: {} as Auth, sessionId }, "/w", new AbortController().signal);
    expect(replies).toEqual([]);
    return { idle, asked: verbs };
  };

  test("when one daemon that neither begins nor leaves says so", async () => {
    expect((await asked(status("a"), resting, status("a"))).idle).toBe(true);
    expect((await asked(status("a"), { sessions: [], next: "p2" }, resting, status("a"))).idle).toBe(true);
    expect((await asked(status("a"), { sessions: [], next: null }, status("a"))).idle).toBe(false);
  });

  test("and not when it was put there by a daemon that left: the next may wake it", async () => {
    expect((await asked(status("a"), resting, status("b"))).idle).toBe(false);
  });

  test("nor before a daemon that begins has opened what it found, or one that leaves has gone", async () => {
    const { idle, asked: verbs } = await asked(status("a", true, true), status("b", false), status("b"), resting, status("b"));
    expect(idle).toBe(true);
    expect(verbs).toEqual(["daemon_status", "daemon_status", "daemon_status", "list_sessions", "daemon_status"]);
  });
});

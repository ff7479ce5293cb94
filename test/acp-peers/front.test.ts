import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { eventually } from "../support/eventually.ts";
import { messagesOf } from "./acpx.ts";
import { FrontHome, idIn } from "./front-home.ts";

/** Within this a process of ours that has lost its client is gone, on a busy machine too; what is promised is measured elsewhere. */
const goneWithinMs = 5_000;

describe("acpx in front of sessiond acp", () => {
  it("asks one question with exec, prints the answer, and leaves nothing but the session and its daemon", async () => {
    await using at = new FrontHome();
    const asked = await at.acpx.run("--format", "quiet", "exec", "say hello there");
    expect(asked).toEqual({ code: 0, stdout: "hello there\n", stderr: "" });
    expect(at.shims()).toEqual([]);
    const { sessions } = await (await at.terminal()).listSessions();
    expect(sessions).toMatchObject([{ workdir: at.home.workdir, model: "practice", status: "idle" }]);
    expect(await at.said(sessions[0]!.session_id)).toEqual(["user: say hello there", "agent: hello there"]);
  });

  it("leaves the daemon that its agent process has started: acpx ends all that descends from that", async () => {
    await using at = new FrontHome();
    await at.acpx.run("--format", "quiet", "exec", "say one");
    const daemon = await at.home.daemon();
    await at.acpx.run("--format", "quiet", "exec", "say two");
    expect(at.home.daemons()).toEqual([daemon]);
    expect(at.home.logged("draining")).toEqual([]);
  });

  it("allows once what is asked with --approve-all: the tool ran", async () => {
    await using at = new FrontHome();
    const allowed = await at.acpx.run("--approve-all", "--format", "json", "--json-strict", "exec", "run echo one > one.txt");
    expect(allowed).toMatchObject({ code: 0, stderr: "" });
    expect(readFileSync(join(at.home.workdir, "one.txt"), "utf8")).toBe("one\n");
    const messages = messagesOf(allowed);
    const asked = messages.filter(({ method }) => method === "session/request_permission");
    expect(asked).toHaveLength(1);
    // One of each kind, so that a program which chooses by kind chooses rightly.
    const kinds = (asked[0]!.params!["options"] as { kind: string }[]).map(({ kind }) => kind);
    expect(kinds).toEqual(["allow_once", "allow_always", "reject_once", "reject_always"]);
    expect(messages.flatMap(({ result }) => (result as { outcome?: unknown } | undefined)?.outcome ?? [])).toEqual([
      { outcome: "selected", optionId: "allow_once" },
    ]);
    expect(messages.filter(({ error }) => error !== undefined)).toEqual([]);
  });

  it("refuses what is asked with --deny-all, and without a terminal: the tool did not run, and the turn ends", async () => {
    await using at = new FrontHome();
    for (const words of [["--deny-all"], []]) {
      const { code, stdout, stderr } = await at.acpx.run(...words, "exec", "run echo two > two.txt");
      expect([code, stderr]).toEqual([5, ""]);
      expect(stdout).toContain("[done] end_turn");
      expect(existsSync(join(at.home.workdir, "two.txt"))).toBe(false);
    }
    const { sessions } = await (await at.terminal()).listSessions();
    expect(sessions).toHaveLength(2);
    for (const { session_id } of sessions) expect(await at.info(session_id)).toMatchObject({ status: "idle", approvals: [] });
  });

  it("keeps named sessions apart, and lists them as sessiond has them", async () => {
    await using at = new FrontHome();
    const one = idIn((await at.acpx.run("sessions", "new", "--name", "one")).stdout);
    const two = idIn((await at.acpx.run("sessions", "new", "--name", "two")).stdout);
    expect(one).not.toBe(two);
    for (const [name, words] of [
      ["one", "say first of one"],
      ["two", "say first of two"],
      ["one", "say second of one"],
    ] as const) {
      const { code, stdout } = await at.acpx.run("--format", "quiet", "prompt", "-s", name, words);
      expect([code, stdout]).toEqual([0, `${words.slice(4)}\n`]);
    }
    expect(await at.said(one)).toEqual(["user: say first of one", "agent: first of one", "user: say second of one", "agent: second of one"]);
    expect(await at.said(two)).toEqual(["user: say first of two", "agent: first of two"]);
    const { stdout: listed } = await at.acpx.run("sessions", "list");
    expect(listed.match(/ses_\w+/g)?.toSorted()).toEqual([one, two].toSorted());
  });

  it("resumes its session with another agent process: after `sessions new`, and when that process was killed", async () => {
    await using at = new FrontHome();
    const id = idIn((await at.acpx.run("sessions", "new")).stdout);
    await at.shimsGone();
    const first = at.acpx.begin("say one");
    await first.printed("session/resume");
    expect((await first.outcome).code).toBe(0);
    const [shim, ...others] = at.shims();
    expect(others).toEqual([]);
    process.kill(shim!, "SIGKILL");
    await at.shimsGone();
    const second = await at.acpx.run("say two");
    expect(second.stdout).toContain("session/resume");
    expect(second.code).toBe(0);
    expect(await at.said(id)).toEqual(["user: say one", "agent: one", "user: say two", "agent: two"]);
    expect((await (await at.terminal()).listSessions()).sessions.map(({ session_id }) => session_id)).toEqual([id]);
  });

  it("cancels a running turn from beside: its process is gone, and the session takes the next prompt", async () => {
    await using at = new FrontHome();
    const id = idIn((await at.acpx.run("sessions", "new")).stdout);
    const slow = at.acpx.begin("--approve-all", "run sleep 600");
    await at.toolRuns();
    expect((await at.acpx.run("cancel")).stdout).toContain("cancel requested");
    const { code, stdout } = await slow.outcome;
    expect(stdout).toContain("[done] cancelled");
    expect(code).toBe(0);
    expect(at.home.tools()).toEqual([]);
    expect((await at.acpx.run("--format", "quiet", "say after")).stdout).toBe("after\n");
    const ends = at.home.journal(id).flatMap(({ event }) => (event.type === "turn_ended" ? [event["stop_reason"]] : []));
    expect(ends).toEqual(["cancelled", "end_turn"]);
  });

  it("cancels the turn of exec by SIGINT, and of a session ends only itself by it: the turn goes on for the owner of its queue", async () => {
    await using at = new FrontHome();
    const exec = at.acpx.begin("--approve-all", "exec", "run sleep 600");
    await at.toolRuns();
    exec.end("SIGINT");
    const { code, stdout } = await exec.outcome;
    expect([code, stdout.includes("[done] cancelled")]).toEqual([0, true]);
    expect(at.home.tools()).toEqual([]);
    const id = idIn((await at.acpx.run("sessions", "new")).stdout);
    const prompting = at.acpx.begin("--approve-all", "run sleep 600");
    await at.toolRuns();
    prompting.end("SIGINT");
    expect((await prompting.outcome).code).not.toBe(0);
    expect(await at.info(id)).toMatchObject({ status: "tool_executing" });
    await at.acpx.run("cancel");
    await eventually("the tool is gone", () => at.home.tools().length === 0);
  });

  it.each([[[]], [["--observe", "all"]]])("leaves a question of another driver's prompt alone, idle and with --approve-all (%j)", async (flags) => {
    await using at = new FrontHome({ flags: ["--model", "practice", ...flags] });
    const id = idIn((await at.acpx.run("sessions", "new")).stdout);
    // Its owner stays behind, with the agent connected and all permissions given.
    await at.acpx.run("--approve-all", "run echo one > one.txt");
    expect(existsSync(join(at.home.workdir, "one.txt"))).toBe(true);
    const [owners, shims] = [at.owners(), at.shims()];
    expect([owners.length, shims.length]).toEqual([1, 1]);
    const seat = await (await at.opened(id)).attach({ as: "driver", label: "bo in a terminal" });
    const eager = seat.state.seats.filter(({ label }) => label.startsWith("acpx"));
    expect(eager).toMatchObject([{ role: "viewer", connected: true }]);
    const before = at.audit().filter(({ verb }) => verb === "approve");
    const turn = seat.prompt("write secret.txt: 1");
    while (seat.state.approvals.length === 0) await seat.changed();
    // What the same agent process does after it has heard of the question: a prompt, which is refused with who drives.
    const { code, stdout } = await at.acpx.run("--approve-all", "say hello");
    expect(stdout).toContain("bo in a terminal drives this session");
    expect(code).toBe(1);
    expect([at.owners(), at.shims()]).toEqual([owners, shims]);
    expect(seat.state.approvals).toHaveLength(1);
    expect(existsSync(join(at.home.workdir, "secret.txt"))).toBe(false);
    await seat.approve(seat.state.approvals[0]!, { kind: "allow_once" });
    expect((await turn).stopReason).toBe("end_turn");
    expect(existsSync(join(at.home.workdir, "secret.txt"))).toBe(true);
    const approves = at.audit().filter(({ verb }) => verb === "approve");
    expect(approves.slice(before.length)).toMatchObject([{ outcome: "ok", seat: seat.seatId }]);
    const tokens = new Set(at.audit().flatMap(({ seat: its, token }) => (eager.some(({ seat_id }) => seat_id === its) ? [token] : [])));
    expect(tokens.size).toBe(1);
    expect(approves.map(({ token }) => tokens.has(token))).toEqual([true, false]);
  });

  it("is killed in a turn: the shim goes, and the turn goes on in the daemon until somebody ends it", async () => {
    await using at = new FrontHome();
    const killed = at.acpx.begin("--approve-all", "exec", "run sleep 600");
    await at.toolRuns();
    killed.end("SIGKILL");
    await at.shimsGone(goneWithinMs);
    const { sessions } = await (await at.terminal()).listSessions();
    const id = sessions[0]!.session_id;
    expect(await at.info(id)).toMatchObject({ status: "tool_executing", seats: [] });
    expect(at.home.tools()).not.toEqual([]);
    await (await at.opened(id)).interrupt();
    await eventually("the tool is gone", () => at.home.tools().length === 0);
  });

  it("loses the owner of its queue in a turn: the shim goes, the turn goes on, and the next prompt is one of the same session", async () => {
    await using at = new FrontHome();
    const id = idIn((await at.acpx.run("sessions", "new")).stdout);
    const asking = at.acpx.begin("--approve-all", "run sleep 600");
    await at.toolRuns();
    const [owner] = at.owners();
    process.kill(owner!, "SIGKILL");
    await at.shimsGone(goneWithinMs);
    expect((await asking.outcome).code).not.toBe(0);
    expect(await at.info(id)).toMatchObject({ status: "tool_executing", seats: [] });
    // It waits for the turn that runs: the queue is the daemon's.
    const next = at.acpx.begin("--format", "quiet", "say after");
    const session = await at.opened(id);
    const viewer = await session.attach({ as: "viewer" });
    while (viewer.state.queue.length === 0) await viewer.changed();
    await session.interrupt();
    await next.outcome;
    expect((await at.acpx.run("--format", "quiet", "say after that")).stdout).toBe("after that\n");
  });

  it("loses its agent process in a turn: told at once, the turn goes on, and the next prompt waits for the wheel and then for its turn", async () => {
    await using at = new FrontHome({ config: '[model]\nname = "practice"\n[limits]\nseat_grace_ms = 1500\n' });
    const id = idIn((await at.acpx.run("sessions", "new")).stdout);
    const asking = at.acpx.begin("--approve-all", "run sleep 600");
    await at.toolRuns();
    const daemon = await at.home.daemon();
    process.kill(at.shims()[0]!, "SIGKILL");
    const { code, stdout } = await asking.outcome;
    expect([code, stdout.includes("disconnected")]).toEqual([1, true]);
    expect(await at.info(id)).toMatchObject({ status: "tool_executing" });
    const next = at.acpx.begin("--format", "quiet", "say after");
    const session = await at.opened(id);
    const viewer = await session.attach({ as: "viewer" });
    while (viewer.state.queue.length === 0) await viewer.changed();
    expect(await at.home.daemon()).toBe(daemon);
    await session.interrupt();
    await next.outcome;
    expect((await at.acpx.run("--format", "quiet", "say after that")).stdout).toBe("after that\n");
  });
});

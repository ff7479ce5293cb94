import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { ViewerSeat } from "@sessiond/client";
import { describe, expect, it } from "vitest";
import { configure } from "../support/acp-house.ts";
import { SeenFrames } from "../support/seen-frames.ts";
import { opencode } from "./agents/opencode.ts";
import { FrontHome, idIn } from "./front-home.ts";
import { peersDir } from "./installed.ts";
import { startMockModel, type MockModel } from "./mock-model.ts";

/** acpx in front, opencode behind, the model on loopback; and a viewer beside, who is there before the first prompt. */
interface Both extends AsyncDisposable {
  readonly at: FrontHome;
  readonly model: MockModel;
  readonly sessionId: string;
  readonly seat: ViewerSeat;
  readonly seen: SeenFrames;
}

async function both(): Promise<Both> {
  const model = await startMockModel();
  const at = new FrontHome({ flags: ["--agent", "opencode"] });
  const agentHome = join(at.home.root, "opencode");
  const { name } = opencode;
  configure(at.home.root, [{ name, command: opencode.command(peersDir), args: opencode.args(peersDir), env: opencode.env(model.url, agentHome, peersDir) }]);
  opencode.prepare(agentHome, model.url);
  const sessionId = idIn((await at.acpx.run("sessions", "new")).stdout);
  const session = await (await at.home.connect({ clientName: "viewer" })).openSession(sessionId, { right: "view" });
  const seat = await session.attach({ as: "viewer", label: "viewer" });
  return {
    at,
    model,
    sessionId,
    seat,
    seen: new SeenFrames(seat),
    async [Symbol.asyncDispose]() {
      await at[Symbol.asyncDispose]();
      await model.close();
    },
  };
}

const textOf = ({ state }: ViewerSeat): string =>
  state.messages.map((message) => (message.type === "user" || message.type === "agent" ? message.text : "")).join("\n");

/** The viewer was shown each frame once and in order, and all that the journal has from where it began. */
async function expectSeen({ at, sessionId, seat, seen }: Both): Promise<void> {
  const journal = at.home.journal(sessionId);
  await seen.until(({ seq }) => seq >= (journal.at(-1)?.seq ?? 0));
  seen.check();
  const first = Math.min(...seen.texts.keys());
  const parsed = (text: string | undefined): unknown => JSON.parse(text ?? "null");
  for (const { seq, text } of journal) if (seq >= first) expect(parsed(seen.texts.get(seq)), `frame ${seq}`).toEqual(parsed(text));
  // Folded from frames across the restart, it is the state that somebody new is given.
  const fresh = await (await at.opened(sessionId)).attach({ as: "viewer" });
  expect(seat.state.messages).toEqual(fresh.state.messages);
}

/** kill -9 of the daemon that runs the turn. */
async function killed({ at, seen }: Both): Promise<void> {
  const daemon = await at.home.daemon();
  const back = seen.back();
  await at.home.kill(daemon);
  await back;
}

describe("acpx in front, opencode behind, a viewer beside", () => {
  it("asks, allows, refuses and cancels through both", async () => {
    await using all = await both();
    const { at, seat, sessionId } = all;
    const asked = await at.acpx.run("--format", "quiet", "say: hello");
    expect([asked.code, asked.stdout.trim()]).toEqual([0, "Answer to: say: hello"]);
    const allowed = await at.acpx.run("--approve-all", "run: echo one > one.txt");
    expect(allowed.code).toBe(0);
    expect(readFileSync(join(at.home.workdir, "one.txt"), "utf8")).toBe("one\n");
    await at.acpx.run("--deny-all", "run: echo two > two.txt");
    expect(existsSync(join(at.home.workdir, "two.txt"))).toBe(false);
    const slow = at.acpx.begin("slow please");
    await slow.printed("word3");
    await at.acpx.run("cancel");
    expect((await slow.outcome).stdout).toContain("[done] cancelled");
    expect(seat.state).toMatchObject({ turn: null, approvals: [], calls: [] });
    expect(textOf(seat)).toContain("Answer to: say: hello");
    expect((await at.info(sessionId)).agent).toBe("opencode");
    await expectSeen(all);
  });

  it("goes on after kill -9 of the daemon in the middle of an answer: told in words, nothing missed, the next prompt remembers", async () => {
    await using all = await both();
    const { at, model, seat } = all;
    await at.acpx.run("--format", "quiet", "say: remember the number 4711");
    const slow = at.acpx.begin("slow please");
    await slow.printed("word3");
    await killed(all);
    const { code, stdout } = await slow.outcome;
    expect(stdout).toContain("The daemon was restarted, which interrupted this turn.");
    expect(stdout).toContain("[done] cancelled");
    expect(code).toBe(0);
    expect(await (await model.request(({ does }) => does === "slow")).over).toBe("cut");
    const after = await at.acpx.run("--format", "quiet", "say: after");
    expect([after.code, after.stdout.trim()]).toEqual([0, "Answer to: say: after"]);
    // The agent took its conversation up again.
    const request = await model.request(({ body, does }) => does === "text" && JSON.stringify(body).includes("say: after"));
    expect(JSON.stringify(request.body)).toContain("remember the number 4711");
    expect(textOf(seat)).toContain("word3");
    await expectSeen(all);
  });

  it("goes on after kill -9 of the daemon while a tool runs: the agent and its command are gone, and the next prompt works", async () => {
    await using all = await both();
    const { at, seat } = all;
    const running = at.acpx.begin("--approve-all", "run: touch began; sleep 600; touch ended");
    await at.toolRuns();
    while (!seat.state.messages.some((message) => message.type === "tool" && message.status === "in_progress")) await seat.changed();
    const before = at.home.tools();
    await killed(all);
    const { code, stdout } = await running.outcome;
    expect([code, stdout.includes("The daemon was restarted, which interrupted this turn.")]).toEqual([0, true]);
    for (const pid of before) await at.home.gone(pid);
    const after = await at.acpx.run("--approve-all", "--format", "quiet", "run: echo after > after.txt");
    expect(after.code).toBe(0);
    expect(existsSync(join(at.home.workdir, "after.txt"))).toBe(true);
    expect(existsSync(join(at.home.workdir, "ended"))).toBe(false);
    await expectSeen(all);
  });
});

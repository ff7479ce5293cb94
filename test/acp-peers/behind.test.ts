import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { eventually } from "../support/eventually.ts";
import { agents } from "./agents/index.ts";
import { Behind } from "./behind.ts";
import { Outcomes } from "./outcomes.ts";

/** Real agents behind a real daemon, driven by the client library. What one agent does otherwise than others is in its `traits`. */
const outcomes = new Outcomes();
afterAll(() => console.log(`\n${outcomes.table()}\n`));

const open: Behind[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

/** The promise of `stop`, and of the start after a killed daemon. */
const goneWithinMs = 5_000;

describe.each(agents)("$name behind sessiond", (agent) => {
  const { traits } = agent;
  const start = async (options?: Parameters<typeof Behind.start>[1]): Promise<Behind> => {
    const behind = await Behind.start(agent, options);
    open.push(behind);
    return behind;
  };
  const of = (name: string, work: () => Promise<string>): Promise<void> => outcomes.of(agent.name, name, work);
  const nothingOpen = ({ seat: { state } }: Behind): void => expect([state.turn, state.approvals, state.calls]).toEqual([null, [], []]);

  it("answers, and tells its title and what it used where it does", () =>
    of("text", async () => {
      const behind = await start();
      expect(await behind.seat.prompt("say: hello")).toMatchObject({ stopReason: "end_turn", text: "Answer to: say: hello" });
      expect(behind.said).toEqual(["Answer to: say: hello"]);
      const [end] = behind.events("turn_ended");
      expect(end?.usage !== undefined && end.usage.input_tokens > 0).toBe(traits.tells.tokens);
      if (traits.title !== null) await behind.until(({ title }) => title === traits.title);
      const { title, agent_facts } = behind.seat.state;
      expect([title, (agent_facts.use?.used ?? 0) > 0]).toEqual([traits.title, traits.tells.context]);
      expect(behind.events("agent_conversation")).toMatchObject([{ how: "new" }]);
      expect(behind.events("notice")).toEqual([]);
      // Nothing was asked for beyond this machine.
      expect(behind.model.refused).toEqual([]);
      nothingOpen(behind);
      return ["answered", ...(title === null ? [] : ["title"]), ...(traits.tells.tokens ? ["tokens"] : []), ...(traits.tells.context ? ["context"] : [])].join(
        ", ",
      );
    }));

  it("B25 runs a command and writes a file when they are allowed", () =>
    of("allowed", async () => {
      const behind = await start();
      const end = await behind.answered("run: echo from-the-tool > ran.txt; cat ran.txt", "allow_once");
      expect(end.stop_reason).toBe("end_turn");
      expect(readFileSync(join(behind.place.workdir, "ran.txt"), "utf8")).toBe("from-the-tool\n");
      expect(behind.said.at(-1)).toMatch(/^The tool said: [^]*from-the-tool/);
      const file = join(behind.place.workdir, "note.txt");
      expect((await behind.answered(`write ${file}: some words`, "allow_once")).stop_reason).toBe("end_turn");
      expect(readFileSync(file, "utf8").trim()).toBe("some words");
      const calls = behind.events("tool_call").map(({ tool_call_id }) => tool_call_id);
      expect(new Set(calls).size).toBe(2);
      const ends = behind.events("tool_call_update").filter(({ status }) => status !== "in_progress");
      expect(ends.map(({ tool_call_id, status }) => [tool_call_id, status])).toEqual(calls.map((id) => [id, "completed"]));
      const questions = behind.events("approval_requested").map(({ approval }) => approval);
      expect(questions.map(({ tool_call_id }) => tool_call_id)).toEqual(calls);
      expect(questions[0]?.preview).toContain("echo from-the-tool > ran.txt; cat ran.txt");
      expect(questions[1]?.preview).toContain(file);
      expect(behind.events("approval_resolved")).toMatchObject([
        { cause: "answer", option_id: "allow_once" },
        { cause: "answer", option_id: "allow_once" },
      ]);
      nothingOpen(behind);
      return "ran, wrote";
    }));

  it("B25 neither runs a command nor writes a file when they are refused, and leaves nothing open", () =>
    of("refused", async () => {
      const behind = await start();
      const file = join(behind.place.workdir, "note.txt");
      const ran = await behind.answered("run: echo from-the-tool > ran.txt", "reject_once");
      nothingOpen(behind);
      const wentOn = behind.model.requests.some(({ does }) => does === "closing");
      expect([ran.stop_reason, wentOn]).toEqual([traits.refused.end, traits.refused.modelGoesOn]);
      await behind.answered(`write ${file}: some words`, "reject_once");
      nothingOpen(behind);
      expect(behind.events("approval_resolved")).toMatchObject([
        { cause: "answer", option_id: "reject_once" },
        { cause: "answer", option_id: "reject_once" },
      ]);
      const ends = behind.events("tool_call_update").filter(({ status }) => status !== "in_progress");
      expect(ends.map(({ status }) => status)).toEqual(["failed", "failed"]);
      expect(await behind.seat.prompt("say: after")).toMatchObject({ stopReason: "end_turn", text: "Answer to: say: after" });
      expect([existsSync(join(behind.place.workdir, "ran.txt")), existsSync(file)]).toEqual([false, false]);
      return `${ran.stop_reason}${wentOn ? ", model goes on" : ""}`;
    }));

  it("B27 is interrupted with a question open: the question is closed, the turn cancelled, nothing runs, the next prompt is answered", () =>
    of("interrupted", async () => {
      const behind = await start();
      const { promptId } = await behind.seat.sendPrompt("run: echo from-the-tool > ran.txt");
      const { approval_id } = await behind.question(promptId);
      expect(await behind.seat.interrupt()).toMatchObject({ interrupted: true });
      await behind.until(({ turn }) => turn === null);
      nothingOpen(behind);
      expect(behind.events("approval_resolved")).toMatchObject([{ approval_id, cause: "interrupt" }]);
      expect(behind.events("turn_ended")).toMatchObject([{ stop_reason: "cancelled" }]);
      expect(await behind.seat.prompt("say: after")).toMatchObject({ stopReason: "end_turn", text: "Answer to: say: after" });
      expect(existsSync(join(behind.place.workdir, "ran.txt"))).toBe(false);
      // The same process, that let go of it by itself.
      expect(behind.events("agent_conversation")).toHaveLength(1);
      await behind.slow();
      await behind.seat.interrupt();
      await behind.until(({ turn }) => turn === null);
      expect(await (await behind.model.request(({ does }) => does === "slow")).over).toBe("cut");
      expect(await behind.seat.prompt("say: at last")).toMatchObject({ stopReason: "end_turn", text: "Answer to: say: at last" });
      expect(behind.events("agent_conversation")).toHaveLength(1);
      return "cancelled, stays";
    }));

  it("answers two prompts that come at once one after the other, each in a turn of its own", () =>
    of("two at once", async () => {
      const behind = await start();
      const turns = await Promise.all(["say: one", "say: two"].map((text) => behind.seat.prompt(text)));
      expect(turns.map(({ stopReason, text }) => [stopReason, text])).toEqual([
        ["end_turn", "Answer to: say: one"],
        ["end_turn", "Answer to: say: two"],
      ]);
      // Which of the two the daemon had first, nobody has promised.
      const accepted = behind.events("prompt_accepted");
      expect(accepted.map(({ became }) => became)).toEqual(["started", "queued"]);
      const inOrder = accepted.flatMap(({ prompt_id }) => turns.find(({ promptId }) => promptId === prompt_id) ?? []);
      expect(behind.events("turn_ended").map(({ turn_id }) => turn_id)).toEqual(inOrder.map(({ turnId }) => turnId));
      expect(behind.said).toEqual(inOrder.map(({ text }) => text));
      // What answered the second knew of the first.
      const [first, second] = inOrder.map(({ text }) => text ?? "");
      expect(await behind.asked(second?.slice("Answer to: ".length) ?? "")).toContain(first);
      return "two, in order";
    }));

  it("B44 works in the mode, with the option and the model that are chosen, and again when it was started anew", () =>
    of("settings", async () => {
      const behind = await start();
      await behind.seat.prompt("say: hello");
      const { mode } = traits;
      const chosen = mode.as === "mode" ? { mode: mode.id, options: traits.option ?? {} } : { options: { mode: mode.id, ...traits.option } };
      await behind.seat.configure(chosen);
      if (traits.model !== null) await behind.seat.configure({ model: traits.model.id });
      else await expect(behind.seat.configure({ model: "another" })).rejects.toMatchObject({ code: "model_unknown" });
      const works = async (name: string): Promise<void> => {
        const file = join(behind.place.workdir, name);
        const asked = behind.events("approval_requested").length;
        if (mode.asks) await behind.answered(`write ${file}: some words`, "allow_once");
        else await behind.seat.prompt(`write ${file}: some words`);
        expect([existsSync(file), behind.events("approval_requested").length - asked]).toEqual([true, mode.asks ? 1 : 0]);
        const { body } = behind.model.requests.find((request) => request.does === "call" && JSON.stringify(request.body).includes(name)) ?? {};
        if (mode.words !== undefined) expect(JSON.stringify(body)).toContain(mode.words);
        if (traits.model !== null) expect((body as { readonly model?: string }).model).toContain(traits.model.asked);
        const { agent_facts, chosen: held } = behind.seat.state;
        const options = Object.fromEntries(agent_facts.options.map(({ id, value }) => [id, value]));
        expect({ mode: agent_facts.mode, ...options }).toMatchObject({ ...(mode.as === "mode" && { mode: mode.id }), ...chosen.options });
        expect(held.options).toEqual(chosen.options);
      };
      await works("first.txt");
      agent.age?.(behind.place.homeDir);
      await behind.killDaemon();
      await works("second.txt");
      expect(behind.events("agent_conversation")).toHaveLength(2);
      expect(behind.events("notice")).toEqual([]);
      return ["mode", ...Object.keys(traits.option ?? {}), ...(traits.model === null ? [] : ["model"])].join(", ");
    }));

  it("B36 is taken up when the daemon was killed, between turns and in one, and knows what was said before", () =>
    of("daemon killed", async () => {
      const behind = await start();
      await behind.seat.prompt("say: heliotrope");
      await behind.killDaemon();
      expect(await behind.seat.prompt("say: magenta")).toMatchObject({ stopReason: "end_turn", text: "Answer to: say: magenta" });
      const young = behind.events("agent_conversation").at(-1)?.how;
      const known = (await behind.asked("magenta")).includes("heliotrope");
      expect([young, known]).toEqual(traits.lostWhenYoung ? ["new", false] : [traits.takesUp, true]);
      const lost = traits.lostWhenYoung ? [{ code: "agent_lost_context", text: expect.stringMatching(traits.lostWhenYoung) }] : [];
      expect(behind.events("notice")).toMatchObject(lost);

      await behind.slow();
      agent.age?.(behind.place.homeDir);
      const left = behind.family();
      await behind.killDaemon();
      await eventually("nothing of the killed daemon's agent is left", () => left().length === 0, goneWithinMs);
      expect(behind.events("turn_ended").at(-1)).toMatchObject({ stop_reason: "interrupted" });
      expect(await behind.seat.prompt("say: turquoise")).toMatchObject({ stopReason: "end_turn", text: "Answer to: say: turquoise" });
      expect(behind.events("agent_conversation").at(-1)?.how).toBe(traits.takesUp);
      expect(await behind.asked("turquoise")).toContain("magenta");
      expect(behind.events("notice")).toMatchObject(lost);
      // What the agent replayed is in nobody's transcript twice.
      const answers = behind.said.filter((text) => text.startsWith("Answer to: "));
      expect(answers).toEqual(["heliotrope", "magenta", "turquoise"].map((word) => `Answer to: say: ${word}`));
      nothingOpen(behind);
      return `${young === "new" ? "lost when young, then " : ""}${traits.takesUp}`;
    }));

  it("B39 leaves no process behind when its session is stopped or the daemon was killed, idle or with a command that runs", () =>
    of("processes", async () => {
      const behind = await start();
      const runs = async (name: string): Promise<() => number[]> => {
        const { promptId } = await behind.seat.sendPrompt(`run: echo up > ${name}; exec tail -f /dev/null`);
        await behind.seat.approve(await behind.question(promptId), { kind: "allow_once" });
        await eventually("the command runs", () => existsSync(join(behind.place.workdir, name)));
        return behind.family();
      };
      const killed = await runs("one.txt");
      const before = killed().length;
      agent.age?.(behind.place.homeDir);
      await behind.killDaemon();
      await eventually("nothing is left after the daemon was killed", () => killed().length === 0, goneWithinMs);
      const stopped = await runs("two.txt");
      await behind.session.stop();
      await eventually("nothing is left after a stop in a turn", () => stopped().length === 0, goneWithinMs);

      const idle = await start();
      await idle.seat.prompt("say: hello");
      const left = idle.family();
      await idle.session.stop();
      await eventually("nothing is left after a stop between turns", () => left().length === 0, goneWithinMs);
      return `${before}, then none`;
    }));
});

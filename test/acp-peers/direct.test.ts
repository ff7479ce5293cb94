import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { peersDir } from "./installed.ts";
import { agents } from "./agents/index.ts";
import { choose, Conversation, newPlace, type Message } from "./conversation.ts";
import { keep } from "./recording.ts";

const asks = ({ method }: Message): boolean => method === "session/request_permission";

describe.each(agents)("$name, spoken to directly", (agent) => {
  it("answers a prompt, and a second one", async () => {
    await using talk = await Conversation.start(agent, { peersDir });
    const { sessionId } = await talk.newSession();
    expect((await talk.prompt(sessionId, "say: hello")).stopReason).toBe("end_turn");
    expect(talk.text).toContain("Answer to: say: hello");
    expect((await talk.prompt(sessionId, "say: again")).stopReason).toBe("end_turn");
    expect(talk.text).toContain("Answer to: say: again");
    keep(agent.name, "text", talk);
  });

  it("runs a command that is allowed, and tells its output", async () => {
    await using talk = await Conversation.start(agent, { peersDir });
    talk.answers = choose("allow_once");
    const { sessionId } = await talk.newSession();
    const { stopReason } = await talk.prompt(sessionId, "run: echo from-the-tool > ran.txt; cat ran.txt");
    expect(stopReason).toBe("end_turn");
    expect(readFileSync(join(talk.place.workdir, "ran.txt"), "utf8")).toBe("from-the-tool\n");
    expect(talk.text).toContain("The tool said:");
    expect(talk.text).toContain("from-the-tool");
    await talk.heard(asks);
    keep(agent.name, "run-allowed", talk);
  });

  it("does not run a command that is refused", async () => {
    await using talk = await Conversation.start(agent, { peersDir });
    const { sessionId } = await talk.newSession();
    await talk.prompt(sessionId, "run: echo from-the-tool > ran.txt");
    await talk.heard(asks);
    expect(existsSync(join(talk.place.workdir, "ran.txt"))).toBe(false);
    expect((await talk.prompt(sessionId, "say: after")).stopReason).toBe("end_turn");
    keep(agent.name, "run-refused", talk);
  });

  it("writes a file that is allowed", async () => {
    await using talk = await Conversation.start(agent, { peersDir });
    talk.answers = choose("allow_once");
    const { sessionId } = await talk.newSession();
    const file = join(talk.place.workdir, "note.txt");
    expect((await talk.prompt(sessionId, `write ${file}: some words`)).stopReason).toBe("end_turn");
    keep(agent.name, "write-allowed", talk);
    expect(readFileSync(file, "utf8").trim()).toBe("some words");
  });

  it("ends its turn when it is cancelled with a permission open, and takes the next prompt", async () => {
    await using talk = await Conversation.start(agent, { peersDir });
    const { sessionId } = await talk.newSession();
    talk.answers = () => talk.cancelled;
    const turn = talk.prompt(sessionId, "run: echo from-the-tool > ran.txt");
    await talk.heard(asks);
    await talk.cancel(sessionId);
    const { stopReason } = await turn;
    expect(existsSync(join(talk.place.workdir, "ran.txt"))).toBe(false);
    expect((await talk.prompt(sessionId, "say: after")).stopReason).toBe("end_turn");
    keep(agent.name, "cancel-permission", talk);
    // A refusal ends opencode's turn by itself, now and then before it has seen the cancel.
    expect(["cancelled", "end_turn"]).toContain(stopReason);
  });

  it("stops asking the model when it is cancelled in the middle of an answer", async () => {
    await using talk = await Conversation.start(agent, { peersDir });
    const { sessionId } = await talk.newSession();
    const turn = talk.prompt(sessionId, "slow please");
    await talk.heard(({ params }) => params?.update?.sessionUpdate === "agent_message_chunk");
    await talk.cancel(sessionId);
    expect((await turn).stopReason).toBe("cancelled");
    const request = await talk.model.request(({ does }) => does === "slow");
    expect(await request.over).toBe("cut");
    keep(agent.name, "cancel-slow", talk);
  });

  it("does not write a file that is refused", async () => {
    await using talk = await Conversation.start(agent, { peersDir });
    const { sessionId } = await talk.newSession();
    const file = join(talk.place.workdir, "note.txt");
    await talk.prompt(sessionId, `write ${file}: some words`);
    await talk.heard(asks);
    keep(agent.name, "write-refused", talk);
    expect(existsSync(file)).toBe(false);
  });

  it("ends with its stdin, and replays a session that is loaded by another process", async () => {
    using place = newPlace();
    let id: string;
    {
      await using talk = await Conversation.start(agent, { peersDir, place });
      talk.answers = choose("allow_once");
      ({ sessionId: id } = await talk.newSession());
      await talk.prompt(id, "say: hello");
      await talk.prompt(id, "run: echo from-the-tool");
      talk.endStdin();
      expect(await talk.ended).toEqual({ code: 0, signal: null });
    }
    agent.age?.(place.homeDir);
    await using talk = await Conversation.start(agent, { peersDir, place });
    await talk.initialize();
    await talk.agent.request("session/load", { sessionId: id, cwd: place.workdir, mcpServers: [] });
    // Gemini goes on replaying when it has answered.
    await talk.heard(({ params }) => JSON.stringify(params ?? {}).includes("The tool said: "));
    expect((await talk.prompt(id, "say: after")).stopReason).toBe("end_turn");
    keep(agent.name, "load", talk);
    expect(talk.text).toContain("Answer to: say: hello");
    expect(talk.text).toContain("Answer to: say: after");
  });

  it("asks for nothing beyond this machine", async () => {
    await using talk = await Conversation.start(agent, { peersDir });
    const { sessionId } = await talk.newSession();
    await talk.prompt(sessionId, "say: hello");
    expect(talk.model.refused).toEqual([]);
  });
});

import { afterEach, expect, test } from "vitest";
import { AcpStreet, said, turn } from "../support/acp-house.ts";
import { eventsOf, type TestSeat } from "../support/session-rig.ts";

/** A turn of an ACP agent: what it says, does and asks, in our events. */
const street = new AcpStreet();
afterEach(async () => expect(await street.close()).toEqual([]));

const ended = (seat: TestSeat, count = 1) => seat.event("turn_ended", count);
const update = (one: object): string => `update ${JSON.stringify(one)}`;
const text = (words: string) => ({ type: "content", content: { type: "text", text: words } });

test("text and thoughts of an agent are the session's, and its answer ends the turn", async () => {
  const house = await street.open();
  const driver = await house.driver();
  expect(await turn(driver, "think hm\nsay one \nsay two")).toMatchObject({ stop_reason: "end_turn" });
  expect(driver.state.messages.map(({ type, text: words }) => [type, words])).toEqual([
    ["user", "think hm\nsay one \nsay two"],
    ["thought", "hm"],
    ["agent", "one two"],
  ]);
  expect(house.heard().map(({ method }) => method)).toEqual(["initialize", "session/new", "session/prompt"]);
  expect(await turn(driver, "say again")).toMatchObject({ stop_reason: "end_turn" });
  expect(house.told("initialize")).toHaveLength(1);
});

test("two prompts sent at once give two turns with their own answers, in order; the agent gets one at a time", async () => {
  const house = await street.open();
  const driver = await house.driver();
  await Promise.all([driver.prompt("say first"), driver.prompt("say second")]);
  await ended(driver, 2);
  expect(said(driver)).toEqual(["first", "second"]);
  const turns = eventsOf(driver.frames, "agent_message_chunk").map(({ turn_id, content }) => [turn_id, content.text]);
  const [one, two] = eventsOf(driver.frames, "turn_started").map(({ turn_id }) => turn_id);
  expect(turns).toEqual([
    [one, "first"],
    [two, "second"],
  ]);
});

test("a tool call goes forwards: made, changed, running, done, with its output, its places and its diffs", async () => {
  const house = await street.open();
  const driver = await house.driver();
  const diff = { type: "diff", path: "/w/a.txt", oldText: "a\n", newText: "b\n" };
  await turn(
    driver,
    [
      update({ sessionUpdate: "agent_message_chunk", content: { type: "text", text: "I will" } }),
      update({ sessionUpdate: "tool_call", toolCallId: "c1", title: "Edit", kind: "edit", name: "edit_file", rawInput: { path: "a.txt" } }),
      update({ sessionUpdate: "tool_call_update", toolCallId: "c1", title: "Edit a.txt", locations: [{ path: "/w/a.txt", line: 3 }], content: [diff] }),
      update({ sessionUpdate: "tool_call_update", toolCallId: "c1", status: "in_progress", content: [text("half")] }),
      update({ sessionUpdate: "tool_call_update", toolCallId: "c1", status: "in_progress", content: [text("half and half")] }),
      update({ sessionUpdate: "tool_call_update", toolCallId: "c1", status: "completed", content: [text("half and half"), diff] }),
      update({ sessionUpdate: "tool_call_update", toolCallId: "c1", status: "in_progress" }),
      update({ sessionUpdate: "agent_message_chunk", content: { type: "text", text: "done" } }),
    ].join("\n"),
  );
  const of = driver.frames.map(({ event }) => event).filter((event) => "tool_call_id" in event && !event.type.startsWith("approval"));
  const turn_id = eventsOf(driver.frames, "turn_started")[0]?.turn_id;
  const call = { turn_id, tool_call_id: "c1" };
  const message_id = expect.any(String);
  const ours = [{ path: "/w/a.txt", old_text: "a\n", new_text: "b\n" }];
  expect(of).toEqual([
    { ...call, type: "tool_call", message_id, tool: "edit_file", kind: "edit", title: "Edit", input: { path: "a.txt" } },
    { ...call, type: "tool_call_changed", title: "Edit a.txt", locations: [{ path: "/w/a.txt", line: 3 }], diffs: ours },
    { ...call, type: "tool_call_update", status: "in_progress" },
    { ...call, type: "tool_call_chunk", content: { type: "text", text: "half" } },
    { ...call, type: "tool_call_chunk", content: { type: "text", text: " and half" } },
    { ...call, type: "tool_call_update", status: "completed", result: "half and half" },
  ]);
  expect(driver.state.files).toMatchObject([{ path: "/w/a.txt", tool_call_id: "c1" }]);
  const [before, after] = said(driver);
  expect([before, after]).toEqual(["I will", "done"]);
  expect(driver.state.messages.filter(({ type }) => type === "tool")).toMatchObject([{ title: "Edit a.txt", status: "completed", text: "half and half" }]);
});

test("an update of a call that was never made is the call; its output without content is what the tool gave; what stays open is closed with the turn", async () => {
  const house = await street.open();
  const driver = await house.driver();
  await turn(
    driver,
    [
      update({ sessionUpdate: "tool_call_update", toolCallId: "c1", status: "completed", rawOutput: { lines: 2 } }),
      update({ sessionUpdate: "tool_call_update", toolCallId: "c2", status: "failed", rawOutput: "no such file", rawInput: "a text" }),
      update({ sessionUpdate: "tool_call", toolCallId: "c3", title: "left open", kind: "something new", status: "in_progress" }),
    ].join("\n"),
  );
  expect(driver.state.messages.filter(({ type }) => type === "tool")).toMatchObject([
    { tool: "other", kind: "other", title: "other", status: "completed", text: '{\n  "lines": 2\n}' },
    { input: { value: "a text" }, status: "failed", text: "no such file" },
    { title: "left open", kind: "other", status: "failed", text: "The turn ended before the tool was run." },
  ]);
});

test("plan, title, commands and use are told; what this version does not know is kept as it was said", async () => {
  const house = await street.open();
  const driver = await house.driver();
  const unknown = { sessionUpdate: "mood_update", mood: { is: "good" } };
  await turn(
    driver,
    [
      update({ sessionUpdate: "plan", entries: [{ content: "first", priority: "high", status: "in_progress" }, { content: "then" }] }),
      update({ sessionUpdate: "session_info_update", title: "A title\nof two lines" }),
      update({ sessionUpdate: "available_commands_update", availableCommands: [{ name: "init", description: "begin", input: { hint: "where" } }] }),
      update({ sessionUpdate: "usage_update", used: 10, size: 100, cost: { amount: 0.5, currency: "USD" } }),
      update({ sessionUpdate: "usage_update", used: -1, size: 100 }),
      update(unknown),
      update({ ...unknown, much: "x".repeat(70_000) }),
      update({ sessionUpdate: "notice", severity: "info", title: "by the way" }),
    ].join("\n"),
  );
  expect(driver.state.plan).toEqual([
    { content: "first", priority: "high", status: "in_progress" },
    { content: "then", priority: "medium", status: "pending" },
  ]);
  expect(driver.state.title).toBe("A title of two lines");
  expect(driver.state.agent_facts).toMatchObject({
    commands: [{ name: "init", description: "begin", hint: "where" }],
    use: { used: 10, size: 100, cost: { amount: 0.5, currency: "USD" } },
  });
  expect(eventsOf(driver.frames, "agent_update")).toMatchObject([
    { protocol: "acp", update: unknown },
    { protocol: "acp", update: { sessionUpdate: "notice", title: "by the way" } },
  ]);
});

test("what the agent tells of another conversation, or of none that is going on, changes nothing", async () => {
  const house = await street.open();
  const driver = await house.driver();
  const chunk = { sessionUpdate: "agent_message_chunk", content: { type: "text", text: "not here" } };
  await turn(
    driver,
    [`elsewhere ${JSON.stringify(chunk)}`, `elsewhere ${JSON.stringify({ sessionUpdate: "session_info_update", title: "theirs" })}`, "say here"].join("\n"),
  );
  expect(said(driver)).toEqual(["here"]);
  expect(driver.state.title).toBeNull();
});

test("messages that the agent names are told apart; those that it does not name by what comes between", async () => {
  const house = await street.open();
  const driver = await house.driver();
  const chunk = (words: string, messageId?: string) => update({ sessionUpdate: "agent_message_chunk", content: { type: "text", text: words }, messageId });
  await turn(driver, [chunk("a", "m1"), chunk("b", "m1"), chunk("c", "m2"), chunk("d"), "think x", chunk("e")].join("\n"));
  expect(said(driver)).toEqual(["ab", "cd", "e"]);
});

test("content that is no text is given in words", async () => {
  const house = await street.open();
  const driver = await house.driver();
  const chunk = (content: object) => update({ sessionUpdate: "agent_message_chunk", content });
  await turn(
    driver,
    [
      chunk({ type: "image", mimeType: "image/png", data: "A".repeat(4096) }),
      chunk({ type: "resource_link", uri: "file:///a", name: "a" }),
      chunk({ type: "resource", resource: { uri: "file:///b", text: "bee" } }),
      chunk({ type: "hologram", of: "x" }),
    ].join("\n"),
  );
  expect(said(driver)[0]).toBe(`[image/png, 3 kB][a](file:///a)[file:///b]\nbee${JSON.stringify({ type: "hologram", of: "x" }, null, 2)}`);
});

test("a prompt's parts go to the agent as it takes them: what is embedded as such, or else in words; a picture only to one that takes pictures", async () => {
  const parts = [
    { type: "text", text: "say ok" },
    { type: "resource", uri: "file:///a.txt", text: "content", mime_type: "text/plain" },
    { type: "resource_link", uri: "file:///b.txt", name: "b.txt" },
  ] as const;
  const picture = { type: "image", mime_type: "image/png", data: "aGVsbG8=" } as const;
  const sent = async (caps: object, more: readonly (typeof picture)[] = []) => {
    const house = await street.open({ script: { caps } });
    const driver = await house.driver();
    const send = (prompt: readonly object[], id: string) =>
      house.house.daemon.call(
        "send_prompt",
        { session_id: driver.rig.sessionId, prompt_id: `prm_${id.padStart(22, "0")}`, parts: prompt as never, when_busy: "queue" },
        driver.auth,
      );
    await send([...parts, ...more], "1");
    const end = await ended(driver);
    const again = await send(more, "2").catch((error: unknown) => error);
    return { end, again, prompts: house.told("session/prompt").map(({ params }) => params?.["prompt"]) };
  };
  const embedded = await sent({ promptCapabilities: { embeddedContext: true, image: true } }, [picture]);
  expect(embedded.prompts[0]).toEqual([
    { type: "text", text: "say ok" },
    { type: "resource", resource: { uri: "file:///a.txt", text: "content", mimeType: "text/plain" } },
    { type: "resource_link", uri: "file:///b.txt", name: "b.txt" },
    { type: "image", mimeType: "image/png", data: "aGVsbG8=" },
  ]);
  const inWords = await sent({});
  expect(inWords.prompts[0]).toEqual([
    { type: "text", text: "say ok" },
    { type: "text", text: "[file:///a.txt]\ncontent" },
    { type: "resource_link", uri: "file:///b.txt", name: "b.txt" },
  ]);
  // Before it has run nobody knows; afterwards the prompt is not taken on.
  const refused = await sent({}, [picture]);
  expect(refused.end).toMatchObject({ stop_reason: "failed", error: { code: "unsupported", message: expect.stringContaining("takes no images") } });
  expect(refused.again).toMatchObject({ code: "unsupported" });
  expect(refused.prompts).toEqual([]);
});

test("B7 words on its stdout that are no messages, a line beyond the limit, and an answer nobody asked for cost nothing but themselves", async () => {
  const house = await street.open({ script: { before: ["Welcome!", "{ not json", '{"jsonrpc":"2.0","id":"stray","result":{}}', "[]", ""] } });
  const driver = await house.driver();
  expect(await turn(driver, "raw hello\nlong 17000000\nsay still here")).toMatchObject({ stop_reason: "end_turn" });
  expect(said(driver)).toEqual(["still here"]);
});

test("B7 a flood of text comes whole and in order, and one piece of megabytes is cut into frames", async () => {
  const house = await street.open();
  const driver = await house.driver();
  await turn(driver, `flood 20000\n${update({ sessionUpdate: "agent_thought_chunk", content: { type: "text", text: "z".repeat(200_000) } })}`);
  const flood = eventsOf(driver.frames, "agent_message_chunk").map(({ content }) => content.text);
  expect(flood.join("")).toBe(Array.from({ length: 20_000 }, (_, n) => `${n} `).join(""));
  const pieces = eventsOf(driver.frames, "agent_thought_chunk").map(({ content }) => content.text.length);
  expect(pieces.reduce((sum, length) => sum + length)).toBe(200_000);
  expect(Math.max(...pieces)).toBeLessThanOrEqual(65_536);
});

test("B7 a call's arguments, diffs and output have a bound: what is beyond it is left out, and the turn goes on", async () => {
  const house = await street.open();
  const driver = await house.driver();
  const huge = "@270000@";
  await turn(
    driver,
    [
      update({
        sessionUpdate: "tool_call",
        toolCallId: "c1",
        title: "t".repeat(2_000),
        rawInput: { huge: huge + huge },
        content: [{ type: "diff", path: "a", newText: huge }],
      }),
      update({ sessionUpdate: "tool_call_update", toolCallId: "c1", status: "completed", content: [text(`begin${huge}end`)] }),
      update({ sessionUpdate: "tool_call", toolCallId: "c2", title: "many", locations: Array.from({ length: 40 }, (_, n) => ({ path: `p${n}` })) }),
      "say on",
    ].join("\n"),
  );
  const [first, second] = eventsOf(driver.frames, "tool_call");
  expect(first?.title).toHaveLength(512);
  expect(first).toMatchObject({ input: { left_out: expect.any(String) } });
  expect(first).not.toHaveProperty("diffs");
  expect(second?.locations).toHaveLength(16);
  const [done] = eventsOf(driver.frames, "tool_call_update");
  expect(done?.result?.length).toBeLessThan(270_000);
  expect(done?.result).toMatch(/^begin[\s\S]*\n… \d+ bytes left out …\n[\s\S]*end$/);
  expect(said(driver)).toEqual(["on"]);
});

test("requests for files and terminals are refused, whatever they are about", async () => {
  const house = await street.open();
  const driver = await house.driver();
  for (const method of ["fs/read_text_file", "fs/write_text_file", "terminal/create", "something/else"])
    await turn(driver, `request ${JSON.stringify({ method, params: { sessionId: "x", path: "/etc/passwd" } })}`);
  expect(said(driver).map((words) => JSON.parse(words.slice(9)) as object)).toEqual(
    Array.from({ length: 4 }, () => ({ error: expect.objectContaining({ code: -32601 }) })),
  );
  expect(house.told("initialize")[0]?.params).toMatchObject({
    protocolVersion: 1,
    clientCapabilities: { fs: { readTextFile: false, writeTextFile: false }, terminal: false },
    clientInfo: { name: "sessiond" },
  });
});

test("how the agent says that it ended is how the turn ended; a reason that nobody knows, and an error, are failures in its words", async () => {
  const house = await street.open({ script: { answer: { usage: { inputTokens: 7, outputTokens: 3, totalTokens: 10 } } } });
  const driver = await house.driver();
  expect(await turn(driver, "end max_tokens")).toMatchObject({ stop_reason: "max_tokens" });
  expect(await turn(driver, "end refusal")).toMatchObject({ stop_reason: "refusal" });
  expect(await turn(driver, "say x")).toMatchObject({ stop_reason: "end_turn", usage: { input_tokens: 7, output_tokens: 3 } });
  expect(await turn(driver, "end tired")).toMatchObject({ stop_reason: "failed", error: { code: "agent_failed", message: expect.stringContaining("tired") } });
  const error = { code: -32603, message: "Internal error", data: { details: "the model\u001b[2J is overloaded" } };
  expect(await turn(driver, `error ${JSON.stringify(error)}`)).toMatchObject({
    stop_reason: "failed",
    error: { code: "agent_failed", message: String.raw`The agent scripted failed: Internal error (the model\u{1b}[2J is overloaded)` },
  });
  // It is there still.
  expect(await turn(driver, "say y")).toMatchObject({ stop_reason: "end_turn" });
  expect(house.told("initialize")).toHaveLength(1);
});

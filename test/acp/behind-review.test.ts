import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { once } from "node:events";
import { afterEach, expect, test, vi } from "vitest";
import { limits } from "@sessiond/shared";
import { AcpError } from "@sessiond/shared/acp";
import { agentLogName } from "../../packages/daemon/src/agent-log.ts";
import { Conversation } from "../../packages/daemon/src/agents/acp/conversation.ts";
import { hiding } from "../../packages/daemon/src/agents/acp/hidden-secrets.ts";
import { wordsOfError } from "../../packages/daemon/src/agents/acp/start-failure.ts";
import { StderrFile } from "../../packages/daemon/src/agents/acp/stderr-file.ts";
import { ToolCalls } from "../../packages/daemon/src/agents/acp/tool-calls.ts";
import { headAndEnd } from "../../packages/daemon/src/agents/bounded.ts";
import { findProgram } from "../../packages/daemon/src/program-search.ts";
import { removeRoot, testRoot } from "../../packages/daemon/src/testing.ts";
import { AcpHouse, turn } from "../support/acp-house.ts";
import { eventsOf } from "../support/session-rig.ts";

/** What a fresh reader broke of agents behind ACP. */
const houses: AcpHouse[] = [];
const roots: string[] = [];
afterEach(async () => {
  for (const house of houses.splice(0)) await house.close();
  for (const root of roots.splice(0)) await removeRoot(root);
});
const opened = async (options?: Parameters<typeof AcpHouse.open>[0]) => {
  const house = await AcpHouse.open(options);
  houses.push(house);
  return house;
};
const place = async () => {
  const root = await testRoot();
  roots.push(root);
  return root;
};
const key = "KEYKEY0123456789abcdefghijklmnopqrstuvwx";

test("B2 a key that an agent says on stderr in two pieces, at the edge of the longest line, is written in none", async () => {
  const root = await place();
  mkdirSync(join(root, "s"));
  for (const before of [0, 4_050, 4_080, limits.agent_stderr_line_chars_max - 1, 2 * limits.agent_stderr_line_chars_max - 20]) {
    const file = new StderrFile(join(root, "s"), { limits, hide: hiding([key]) });
    const pipe = new PassThrough();
    file.drain(pipe);
    pipe.write(`${"a".repeat(before)}${key.slice(0, 16)}`);
    pipe.write(`${key.slice(16)}${" rest".repeat(1_000)}`);
    pipe.write("the end of it\nnext line\n");
    pipe.end();
    await once(pipe, "end");
    expect(file.last).toBe("next line");
    file.close();
    const text = readFileSync(join(root, "s", agentLogName), "utf8");
    expect([before, text.replaceAll("\n", "").includes(key.slice(0, 16)), text.includes(key.slice(16))]).toEqual([before, false, false]);
  }
});

/** The longest run of the key's letters that stands in the text. */
function longestRun(secret: string, text: string): number {
  let longest = 0;
  for (let from = 0; from < secret.length; from += 1)
    while (text.includes(secret.slice(from, from + longest + 1)) && from + longest < secret.length) longest += 1;
  return longest;
}

test("B2 no part of a key stands in the log, wherever what came of a long line ends, and wherever an agent was ended", async () => {
  const root = await place();
  mkdirSync(join(root, "s"));
  const quoted = 'pa"ss\\word-0987654321-zyx';
  const secrets = [key, quoted, key.slice(6, 20), `${key.slice(30)}KEYKEY-and-more-of-it`, "Q".repeat(9) + "w".repeat(9_000)];
  const unit = secrets
    .slice(0, 4)
    .flatMap((secret) => [secret, JSON.stringify(secret)])
    .join(" ");
  const log = async (pieces: readonly string[]): Promise<string> => {
    const file = new StderrFile(join(root, "s"), { limits, hide: hiding(secrets) });
    const pipe = new PassThrough();
    file.drain(pipe);
    for (const piece of pieces) pipe.write(piece);
    const before = file.last;
    pipe.end();
    await once(pipe, "end");
    file.close();
    const path = join(root, "s", agentLogName);
    const text = `${before}\n${file.last}\n${existsSync(path) ? readFileSync(path, "utf8") : ""}`;
    rmSync(path, { force: true });
    return text;
  };
  const long = `${unit} `.repeat(60);
  for (let at = 0; at <= unit.length; at += 1) {
    const cut = 8_200 - (8_200 % (unit.length + 1)) + unit.length + 1 + at;
    for (const text of [await log([long.slice(0, cut), `${long.slice(cut)}\nnext\n`]), await log([unit.slice(0, at)])])
      for (const secret of [key, quoted, JSON.stringify(quoted).slice(1, -1)]) expect([at, longestRun(secret, text) < 6]).toEqual([at, true]);
  }
  expect(await log([`${"Q".repeat(9)}${"w".repeat(8_500)}`, "w".repeat(500)])).not.toContain("www");
  expect(await log(["what it said"])).toContain("what it said");
});

test("B2 a key with quotes is hidden in what an agent sends as JSON, too", () => {
  const secret = 'pa"ss"word\\0123456789';
  expect(wordsOfError(new AcpError(-32603, "no", { env: { K: secret } }, true), hiding([secret]))).not.toContain("0123456789");
});

test("B46 a program of the project is not found by its name, whichever way a PATH leads to it", async () => {
  const root = await place();
  mkdirSync(join(root, "w/bin"), { recursive: true });
  symlinkSync(join(root, "w"), join(root, "l"));
  mkdirSync(join(root, "x"));
  writeFileSync(join(root, "w/bin/agent-of-the-project"), "#!/bin/sh\n", { mode: 0o755 });
  // One of the usual places of a home, too.
  symlinkSync(join(root, "w/bin"), join(root, "bin"));
  for (const path of ["w/bin", "l/bin", "x/../w/bin", "bin"])
    expect(await findProgram("agent-of-the-project", { paths: [`${root}/${path}`], home: root, workdir: join(root, "w") })).toBeNull();
});

test("B25 a question about a call that is over is not asked: nothing of it could be shown any more", async () => {
  const house = await opened();
  const driver = await house.driver();
  const options = [{ optionId: "y", name: "Yes", kind: "allow_once" }];
  const over = { toolCallId: "a", title: "rm -rf ~", rawInput: { command: "rm -rf ~" }, status: "completed" };
  const end = await turn(
    driver,
    `update ${JSON.stringify({ sessionUpdate: "tool_call", ...over })}\nask ${JSON.stringify({ toolCall: { toolCallId: "a" }, options })}`,
  );
  expect(end.stop_reason).toBe("end_turn");
  expect(eventsOf(driver.frames, "approval_requested")).toEqual([]);
});

test("B25 a question about a call that ends right behind it is not asked", async () => {
  const conversation = new Conversation({ name: "a", context: {} as never, limits, hide: (text) => text });
  conversation.id = "c";
  const never = new Promise<never>(() => undefined);
  const ask = vi.fn(() => Promise.resolve({ allowed: true, cause: "answer", optionId: "allow_once" }));
  const signal = new AbortController().signal;
  const says = conversation.prompt({ request: () => never, closed: never } as never, { id: "c", parts: [], takes: {} as never }, {
    turnId: "t",
    signal,
    ask,
  } as never);
  const told: unknown[] = [];
  void (async () => {
    for await (const one of says) told.push(one);
  })();
  const update = (one: object) => void conversation.notified("session/update", { sessionId: "c", update: { toolCallId: "a", ...one } });
  update({ sessionUpdate: "tool_call", title: "rm -rf ~", rawInput: { command: "rm -rf ~" } });
  const options = [{ optionId: "y", name: "Yes", kind: "allow_once" }];
  const answer = conversation.requested("session/request_permission", { sessionId: "c", toolCall: { toolCallId: "a" }, options }, {
    signal,
    afterResponse: () => undefined,
  } as never);
  update({ sessionUpdate: "tool_call_update", status: "completed" });
  expect(await answer).toEqual({ outcome: { outcome: "cancelled" } });
  expect(ask).not.toHaveBeenCalled();
  expect(told).toMatchObject([{ type: "tool_call" }, { type: "tool_call_update", status: "completed" }]);
});

test("B7 of what comes late for a call that has ended nothing is kept, and what it repeats is not told again", () => {
  const calls = new ToolCalls(limits);
  const update = (one: object) => calls.update({ toolCallId: "a", ...one } as never, () => "m").map(({ type }) => type);
  const done = {
    title: "Edit x",
    kind: "edit",
    status: "completed",
    rawInput: { path: "/x" },
    locations: [{ path: "/x" }],
    content: [{ type: "diff", path: "/x", oldText: "a", newText: "b" }],
  };
  expect(update({ title: "Edit" })).toEqual(["tool_call"]);
  expect(update(done)).toEqual(["tool_call_changed", "tool_call_update"]);
  expect([update(done), update(done)]).toEqual([[], []]);
  const late = { rawOutput: "z".repeat(100_000), rawInput: { x: "z".repeat(100_000) } };
  expect([update(late), update(late), update({ ...done, ...late })]).toEqual([["tool_call_changed"], [], []]);
  expect(JSON.stringify(calls.get("a")).length).toBeLessThan(1_000);
});

test("B7 a call's end with a table of 20000 values is heard; a message beyond a limit is told of in the agent's log", async () => {
  const house = await opened();
  const driver = await house.driver();
  const call = { toolCallId: "a", title: "query" };
  const done = { ...call, status: "completed", content: [{ type: "content", content: { type: "text", text: "all rows" } }], rawOutput: Array(20_000).fill(0) };
  await turn(
    driver,
    `update ${JSON.stringify({ sessionUpdate: "tool_call", ...call })}\nupdate ${JSON.stringify({ sessionUpdate: "tool_call_update", ...done })}\nlong 17000000`,
  );
  expect(eventsOf(driver.frames, "tool_call_update")).toMatchObject([{ status: "completed", result: "all rows" }]);
  expect(readFileSync(house.file(driver, agentLogName), "utf8")).toMatch(
    /^== not read: A message of 170\d+ bytes is longer than \d+ \(limit acp_message_bytes_max\)/m,
  );
});

test("what is left out of a long output begins and ends between characters", () => {
  for (const letter of ["é", "€", "😀", "\ufffd"])
    for (const shift of [0, 1, 2, 3]) {
      const kept = headAndEnd("x".repeat(shift) + letter.repeat(2_000), 1_001);
      expect(kept.replace(/\n… \d+ bytes left out …\n/, "")).toMatch(new RegExp(`^x{${shift}}(${letter})+$`, "u"));
    }
});

test("B7 an agent whose facts outrun the disk is not read further until that has caught up", async () => {
  let caughtUp = (): void => undefined;
  const drained = new Promise<void>((resolve) => (caughtUp = resolve));
  const context = { tell: () => undefined, drained: () => drained } as never;
  const conversation = new Conversation({ name: "a", context, limits, hide: (text) => text });
  conversation.id = "c";
  const params = { sessionId: "c", update: { sessionUpdate: "current_mode_update", currentModeId: "plan" } };
  let handled = false;
  const notified = Promise.resolve(conversation.notified("session/update", params)).then(() => (handled = true));
  await new Promise((resolve) => setImmediate(resolve));
  expect(handled).toBe(false);
  caughtUp();
  await notified;
});

test("B44 a model that the agent refuses is told to it once a prompt, and told of once", async () => {
  const model = {
    id: "m",
    name: "m",
    category: "model",
    type: "select",
    currentValue: "a",
    options: [
      { value: "a", name: "a" },
      { value: "b", name: "b" },
    ],
  };
  const house = await opened({ script: { session: { configOptions: [model] }, errors: { "session/set_config_option": { code: -32603, message: "no" } } } });
  const driver = await house.driver({ model: "b" });
  expect(await turn(driver, "say x")).toMatchObject({ stop_reason: "failed", error: { code: "model_unknown" } });
  expect(eventsOf(driver.frames, "notice").map(({ code }) => code)).toEqual(["agent_refused_setting"]);
});

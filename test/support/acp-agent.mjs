// An agent that speaks ACP as plain lines of JSON, written for the tests: with nothing of ours in it.
//
// How it starts is told by ACP_AGENT (JSON): { version, caps, hang: [methods], errors: {method: error}, session: {modes, configOptions},
// replaysLate: ms, before: [lines on stdout], first: [commands run before anything is answered] }. What it does with a prompt, the prompt
// says: a command a line, in order. All that it is told is written to ACP_HEARD, a line each; ACP_MEMORY is a directory in which it keeps conversations.
import { spawn } from "node:child_process";
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

// `@1000@` is so many letters: more than a prompt or a variable may hold.
const parsed = (json) => JSON.parse(json, (_, value) => (typeof value === "string" ? value.replace(/@(\d+)@/g, (_all, n) => "h".repeat(Number(n))) : value));
const told = parsed(process.env.ACP_AGENT ?? "{}");
const heardFile = process.env.ACP_HEARD;
const memory = process.env.ACP_MEMORY;
const waiting = new Map();
const cancelled = new Set();
let wake = () => {};
let requests = 0;
let options = structuredClone(told.session?.configOptions ?? []);
const stubborn = new Set();
// Each start has names of its own for conversations.
const born = `${process.pid}`;
let sessions = 0;
let replayed = Promise.resolve();

const write = (text) => process.stdout.write(text);
const say = (message) => write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
const note = (line) => heardFile && appendFileSync(heardFile, `${line}\n`);
const update = (sessionId, one) => say({ method: "session/update", params: { sessionId, update: one } });
const text = (words) => ({ type: "text", text: words });
const fileOf = (id) => join(memory, id);
const remember = (id, line) => memory && appendFileSync(fileOf(id), `${line}\n`);

function ask(method, params) {
  const id = `q${++requests}`;
  say({ id, method, params });
  return new Promise((resolve) => waiting.set(id, resolve));
}

/** @returns how the prompt ends */
async function obey(sessionId, line) {
  const { word = line, rest = "" } = /^(?<word>\S+) ?(?<rest>[\s\S]*)$/.exec(line)?.groups ?? {};
  const json = () => parsed(rest);
  switch (word) {
    case "say":
      return void update(sessionId, { sessionUpdate: "agent_message_chunk", content: text(rest) });
    case "think":
      return void update(sessionId, { sessionUpdate: "agent_thought_chunk", content: text(rest) });
    case "update":
      return void update(sessionId, json());
    case "elsewhere":
      return void update("another", json());
    case "raw":
      return void write(`${rest}\n`);
    case "long":
      return void write(`{"jsonrpc":"2.0","method":"session/update","params":"${"x".repeat(Number(rest))}"}\n`);
    case "flood":
      for (let n = 0; n < Number(rest); n += 1) {
        update(sessionId, { sessionUpdate: "agent_message_chunk", content: text(`${n} `) });
        if (cancelled.has(sessionId)) return "cancelled";
        if (process.stdout.writableNeedDrain) await new Promise((resolve) => process.stdout.once("drain", resolve));
      }
      return undefined;
    case "ask": {
      const { toolCall, options: offered } = json();
      const outcome = await ask("session/request_permission", { sessionId, toolCall, options: offered });
      return void update(sessionId, { sessionUpdate: "agent_message_chunk", content: text(`answered ${JSON.stringify(outcome)}`) });
    }
    case "ask-unheard":
      void ask("session/request_permission", { sessionId, ...json() });
      return undefined;
    // It takes its question back, at once or when it is sent SIGUSR2.
    case "ask-and-withdraw":
    case "ask-until-told": {
      // Both come in one piece.
      process.stdout.cork();
      const answer = ask("session/request_permission", { sessionId, ...json() });
      const params = { requestId: `q${requests}` };
      const withdraw = () => say({ method: "$/cancel_request", params });
      if (word === "ask-until-told") process.once("SIGUSR2", withdraw);
      else withdraw();
      process.stdout.uncork();
      return void update(sessionId, { sessionUpdate: "agent_message_chunk", content: text(`answered ${JSON.stringify(await answer)}`) });
    }
    case "request": {
      const { method, params } = json();
      return void update(sessionId, { sessionUpdate: "agent_message_chunk", content: text(`answered ${JSON.stringify(await ask(method, params))}`) });
    }
    case "notify":
      return void say(json());
    case "stderr":
      return void process.stderr.write(`${rest}\n`);
    case "stderr-much":
      for (let n = 0; n < Number(rest); n += 1) {
        if (!process.stderr.write(`line ${n} ${"y".repeat(1000)}\n`)) await new Promise((resolve) => process.stderr.once("drain", resolve));
      }
      return undefined;
    case "environment":
      return void update(sessionId, { sessionUpdate: "agent_message_chunk", content: text(JSON.stringify({ ...process.env, CWD: process.cwd() })) });
    case "history":
      return void update(sessionId, {
        sessionUpdate: "agent_message_chunk",
        content: text(`${readFileSync(fileOf(sessionId), "utf8").split("\n").length - 3} before`),
      });
    case "after-replay":
      await replayed;
      return undefined;
    case "child": {
      const child = spawn(process.execPath, ["-e", "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000)"], { stdio: "ignore" });
      return void update(sessionId, { sessionUpdate: "agent_message_chunk", content: text(`child ${child.pid}`) });
    }
    case "stubborn":
      process.on("SIGTERM", () => {});
      return void stubborn.add(sessionId);
    case "wait":
      while (stubborn.has(sessionId) || !cancelled.has(sessionId)) await new Promise((resolve) => (wake = resolve));
      return "cancelled";
    case "crash":
      process.exit(Number(rest));
    // eslint-disable-next-line no-fallthrough
    case "error":
      throw json();
    case "end":
      return rest;
    default:
      return void update(sessionId, { sessionUpdate: "agent_message_chunk", content: text(`did not understand ${line}`) });
  }
}

async function prompt({ sessionId, prompt: parts }) {
  const words = parts.map((part) =>
    part.type === "text" ? part.text : `update ${JSON.stringify({ sessionUpdate: "agent_message_chunk", content: text(JSON.stringify(part)) })}`,
  );
  remember(sessionId, JSON.stringify(words));
  cancelled.delete(sessionId);
  for (const line of words.join("\n").split("\n")) {
    const end = await obey(sessionId, line);
    if (end !== undefined) return { stopReason: end };
    if (cancelled.has(sessionId) && !stubborn.has(sessionId)) return { stopReason: "cancelled" };
  }
  return { stopReason: "end_turn", ...told.answer };
}

const settings = () => ({ ...told.session, ...(told.session?.configOptions && { configOptions: options }) });

const methods = {
  initialize: () => ({
    protocolVersion: told.version ?? 1,
    agentCapabilities: told.caps ?? {},
    authMethods: told.authMethods ?? [],
    agentInfo: { name: "scripted", version: "1" },
  }),
  "session/new": () => {
    const sessionId = `conversation-${born}-${++sessions}`;
    if (memory) writeFileSync(fileOf(sessionId), "begun\n");
    return { sessionId, ...settings() };
  },
  "session/resume": ({ sessionId }) => {
    if (!existsSync(fileOf(sessionId))) throw { code: -32002, message: `there is no ${sessionId}` };
    return settings();
  },
  "session/load": ({ sessionId }) => {
    if (!existsSync(fileOf(sessionId))) throw { code: -32002, message: `there is no ${sessionId}` };
    const replay = () => {
      for (const line of readFileSync(fileOf(sessionId), "utf8").split("\n").slice(1, -1)) {
        update(sessionId, { sessionUpdate: "user_message_chunk", content: text(line) });
        update(sessionId, { sessionUpdate: "agent_message_chunk", content: text(`replayed ${line}`) });
        update(sessionId, { sessionUpdate: "tool_call", toolCallId: "replayed", title: "replayed" });
      }
    };
    replay();
    if (told.replaysLate) replayed = new Promise((resolve) => setTimeout(() => resolve(replay()), told.replaysLate));
    return settings();
  },
  "session/set_mode": ({ sessionId, modeId }) => {
    if (modeId === told.refuses) throw { code: -32603, message: "Internal error", data: { details: `the mode ${modeId} is not for you` } };
    update(sessionId, { sessionUpdate: "current_mode_update", currentModeId: modeId });
    return {};
  },
  "session/set_config_option": ({ sessionId, configId, value }) => {
    if (value === told.refuses) throw { code: -32602, message: `not ${value}` };
    options = options.map((option) => (option.id === configId ? { ...option, currentValue: value } : option));
    update(sessionId, { sessionUpdate: "config_option_update", configOptions: options });
    return { configOptions: options };
  },
  "session/close": () => ({}),
  "session/prompt": prompt,
};

async function answer({ id, method, params }) {
  if (told.hang?.includes(method)) return;
  try {
    if (told.errors?.[method]) throw told.errors[method];
    if (methods[method] === undefined) throw { code: -32601, message: `no method ${method}` };
    say({ id, result: await methods[method](params) });
  } catch (error) {
    say({ id, error: typeof error?.code === "number" && !(error instanceof Error) ? error : { code: -32603, message: String(error?.stack ?? error) } });
  }
}

if (told.ignoresEnd) process.on("SIGTERM", () => {});
for (const line of told.before ?? []) write(`${line}\n`);
for (const line of told.first ?? []) await obey("none", line);

for await (const line of createInterface({ input: process.stdin })) {
  note(line);
  const message = JSON.parse(line);
  if (message.method === undefined) {
    waiting.get(message.id)?.(message.result ?? { error: message.error });
    waiting.delete(message.id);
  } else if (message.id !== undefined) void answer(message);
  else if (message.method === "session/cancel") {
    cancelled.add(message.params.sessionId);
    wake();
  }
}
note("end of input");
if (told.ignoresEnd) setInterval(() => {}, 1000);
else process.exit(0);

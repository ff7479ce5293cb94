/** The protocol's own SDK on the other end, over the pipes of a process: its agent to our client's side, its client to our agent's. */
import { spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { limits } from "@sessiond/shared";
import {
  acpErrors,
  AcpError,
  acpVersion,
  initializeRequest,
  initializeResponse,
  JsonRpcPeer,
  mustReadAcp,
  newSessionRequest,
  newSessionResponse,
  permissionRequest,
  permissionResponse,
  promptRequest,
  promptResponse,
  sessionUpdate,
  type AcpInitializeRequest,
  type AcpInitializeResponse,
  type AcpNewSessionResponse,
  type AcpPermissionRequest,
  type AcpPermissionResponse,
  type AcpPromptRequest,
  type AcpPromptResponse,
  type AcpSessionUpdate,
  type IncomingRequest,
  type PeerOptions,
} from "@sessiond/shared/acp";
import { validates, type AcpSide } from "../support/acp-schema.ts";

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

/** A peer of ours on the stdio of a process; each message of ours is held against the schema. */
function beside(fixture: string, side: AcpSide, handlers: Pick<PeerOptions, "onRequest" | "onNotification">) {
  const child = spawn(process.execPath, [join(import.meta.dirname, "../fixtures", fixture)], { stdio: ["pipe", "pipe", "inherit"] });
  children.push(child);
  const methods = new Map<unknown, string>();
  const bugs: unknown[] = [];
  const peer = new JsonRpcPeer({
    limits,
    report: (bug) => void bugs.push(bug),
    onNotification: handlers.onNotification,
    onRequest: (method, params, request) => {
      methods.set(request.id, method);
      return handlers.onRequest(method, params, request);
    },
    write: (line) => {
      const said = JSON.parse(line) as { id?: unknown; method?: string };
      const kind = said.method === undefined ? "response" : "id" in said ? "request" : "notification";
      validates(kind, said.method ?? methods.get(said.id) ?? "", side, said);
      if (child.stdin.write(line)) return undefined;
      return new Promise((resolve) => child.stdin.once("drain", resolve));
    },
  });
  // Its end is told by the process.
  child.stdin.on("error", () => {});
  const read = (async () => {
    for await (const chunk of child.stdout) {
      peer.receive(chunk as Uint8Array);
      await peer.handled();
    }
    peer.end("the process closed its output");
  })();
  return { peer, child, bugs, read };
}

function clientOfAgent() {
  const updates: string[] = [];
  const questions: AbortSignal[] = [];
  let answer = (): AcpPermissionResponse | Promise<AcpPermissionResponse> => ({ outcome: { outcome: "selected", optionId: "yes" } });
  const one = beside("acp-sdk-agent.mjs", "client", {
    onRequest: (method, params, { signal }: IncomingRequest) => {
      if (method !== "session/request_permission") throw new AcpError(acpErrors.method_not_found, `Not offered: ${method}.`);
      const { options, toolCall } = mustReadAcp(permissionRequest, params);
      updates.push(`asked ${toolCall.title} ${options.map(({ optionId, kind }) => `${optionId}:${kind}`).join(" ")}`);
      questions.push(signal);
      return answer();
    },
    onNotification: (_method, params) => {
      const { update } = mustReadAcp(sessionUpdate, params);
      if (!update.known) updates.push("unknown");
      else updates.push("content" in update && update.content !== undefined && "text" in update.content ? update.content.text : update.sessionUpdate);
    },
  });
  const prompt = async (text: string, options = {}) => {
    const params: AcpPromptRequest = { sessionId: "/place", prompt: [{ type: "text", text }] };
    const { stopReason } = mustReadAcp(promptResponse, await one.peer.request("session/prompt", params, options));
    return [stopReason, ...updates.splice(0)];
  };
  return { ...one, updates, questions, prompt, answers: (by: typeof answer) => (answer = by) };
}

test("the SDK's agent: each update is handled before the answer behind it, questions are answered, and failures come as they are", async () => {
  const { peer, child, bugs, updates, prompt, read } = clientOfAgent();
  const init: AcpInitializeRequest = { protocolVersion: acpVersion, clientInfo: { name: "us", version: "1" }, clientCapabilities: { fs: {}, terminal: false } };
  expect(mustReadAcp(initializeResponse, await peer.request("initialize", init))).toMatchObject({
    protocolVersion: 1,
    agentInfo: { name: "us" },
    agentCapabilities: { loadSession: true, sessionCapabilities: { list: true, close: false, resume: false } },
  });
  const { sessionId, modes } = mustReadAcp(newSessionResponse, await peer.request("session/new", { cwd: "/place", mcpServers: [] }));
  expect([sessionId, modes?.currentModeId, modes?.availableModes.length]).toEqual(["/place", "a", 2]);
  expect(await peer.request("session/set_mode", { sessionId, modeId: "b" })).toEqual({});
  while (updates.length === 0) await peer.request("session/set_mode", { sessionId, modeId: "b" });
  expect(updates.splice(0)).toEqual(["current_mode_update"]);

  expect(await prompt("stream")).toEqual(["end_turn", ...Array.from({ length: 500 }, (_, at) => `${at} é€🙂\u2028`), "last"]);
  expect(await prompt("ask")).toEqual(["end_turn", "tool_call", "asked rm yes:allow_once no:reject_once", '{"outcome":"selected","optionId":"yes"}']);
  expect(await prompt("read")).toEqual(["refusal", "-32601 Not offered: fs/read_text_file."]);
  expect((await prompt("large")).map((text) => text.length)).toEqual(["end_turn".length, 1_000_000]);
  await expect(prompt("fail")).rejects.toMatchObject({ code: acpErrors.auth_required, data: { url: "there" }, theirs: true });
  await expect(peer.request("session/list", {})).rejects.toMatchObject({ code: acpErrors.method_not_found });

  const waiting = prompt("wait");
  await peer.request("session/set_mode", { sessionId, modeId: "a" });
  peer.notify("session/cancel", { sessionId });
  expect(await waiting).toEqual(["cancelled"]);
  await expect(prompt("hang", { timeoutMs: 20 })).rejects.toMatchObject({ code: acpErrors.timed_out });
  const stop = new AbortController();
  const hanging = prompt("hang", { signal: stop.signal });
  stop.abort();
  await expect(hanging).rejects.toMatchObject({ code: acpErrors.request_cancelled });

  await expect(prompt("leave")).rejects.toMatchObject({ code: acpErrors.connection_closed });
  expect(await peer.closed).toBe("the process closed its output");
  await read;
  if (child.exitCode === null) await new Promise((resolve) => child.once("exit", resolve));
  expect(child.exitCode).toBe(3);
  expect(bugs).toEqual([]);
});

test("the SDK's client: it sees what we say in the order in which we said it, and every answer", async () => {
  let stopped: (() => void) | undefined;
  let told: (seen: unknown) => void = () => {};
  const seen = new Promise<unknown>((resolve) => (told = resolve));
  const say = (text: string) =>
    one.peer.notify("session/update", {
      sessionId: "s",
      update: { sessionUpdate: "agent_message_chunk", content: { type: "text", text } },
    } satisfies AcpSessionUpdate);
  const ask = async (options: AcpPermissionRequest["options"], signal?: AbortSignal) =>
    mustReadAcp(
      permissionResponse,
      await one.peer.request("session/request_permission", { sessionId: "s", toolCall: { toolCallId: "c" }, options } satisfies AcpPermissionRequest, {
        signal,
      }),
    ).outcome;
  const prompts: Record<string, (signal: AbortSignal) => AcpPromptResponse | Promise<AcpPromptResponse>> = {
    stream: () => {
      for (let at = 0; at < 500; at += 1) say(`${at} é€🙂\u2028`);
      return { stopReason: "end_turn" };
    },
    ask: async () => {
      const outcome = await ask([{ optionId: "yes", name: "Yes", kind: "allow_once" }]);
      say(JSON.stringify(outcome));
      return { stopReason: "end_turn" };
    },
    "take back": async () => {
      const stop = new AbortController();
      const asked = ask([], stop.signal);
      stop.abort();
      await asked.catch((error: AcpError) => say(error.message));
      return { stopReason: "cancelled" };
    },
    bug: () => {
      throw new TypeError("not for them");
    },
    wait: () => new Promise((resolve) => (stopped = () => resolve({ stopReason: "cancelled" }))),
    hang: (signal) => new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error))),
  };
  const handlers: Record<string, (params: unknown, request: IncomingRequest) => unknown> = {
    initialize: (params): AcpInitializeResponse => ({
      protocolVersion: mustReadAcp(initializeRequest, params).protocolVersion,
      agentInfo: { name: "us", version: "1" },
    }),
    "session/new": (params, { afterResponse }): AcpNewSessionResponse => {
      afterResponse(() => say("after new"));
      return { sessionId: mustReadAcp(newSessionRequest, params).cwd };
    },
    "session/list": () => ({ sessions: [] }),
    "session/set_mode": () => {},
    "session/prompt": (params, { signal }) => {
      const [block] = mustReadAcp(promptRequest, params).prompt;
      return prompts[block?.type === "text" ? block.text : ""]?.(signal);
    },
    _echo: (params) => params,
    _seen: (params) => told(params),
  };
  const one = beside("acp-sdk-client.mjs", "agent", {
    onRequest: (method, params, request) => {
      const handler = handlers[method];
      if (handler === undefined) throw new AcpError(acpErrors.method_not_found, `Not offered: ${method}.`);
      return handler(params, request);
    },
    onNotification: () => stopped?.(),
  });
  const bug = { code: acpErrors.internal_error, message: "A bug in sessiond; its log has the details." };
  const shown = (await seen) as unknown[];
  // The client may hear of a question that was taken back at once, or not.
  const given = shown.filter((what) => what !== "asked " && what !== "question taken back");
  // Answers of the SDK's client overtake the updates before them; so each kind is looked at for itself.
  expect(given.filter((what) => typeof what === "string")).toEqual([
    "after new",
    ...Array.from({ length: 500 }, (_, at) => `${at} é€🙂\u2028`),
    "asked yes",
    '{"outcome":"selected","optionId":"yes"}',
    "session/request_permission was cancelled on this side.",
  ]);
  expect(given.filter((what) => typeof what !== "string")).toMatchObject([
    { initialize: { protocolVersion: 1 } },
    { new: { sessionId: "/place" } },
    { list: { sessions: [] } },
    { mode: {} },
    { stream: { stopReason: "end_turn" } },
    { ask: { stopReason: "end_turn" } },
    { "take back": { stopReason: "cancelled" } },
    { bug },
    { unknown: { code: acpErrors.method_not_found } },
    { wait: { stopReason: "cancelled" } },
    { hang: { code: acpErrors.request_cancelled } },
    { many: true },
  ]);
  expect(one.bugs).toMatchObject([{ message: "not for them" }]);
  await one.read;
});

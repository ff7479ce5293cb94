/** Reading what others send: lenient where nothing is lost by it, and by name where something is missing. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { limits } from "@sessiond/shared";
import { expect, test } from "vitest";
import { z } from "zod";
import { list } from "../../packages/shared/src/acp/lenient.ts";
import {
  acpErrors,
  cancelNotification,
  initializeRequest,
  initializeResponse,
  listSessionsRequest,
  listSessionsResponse,
  loadSessionRequest,
  loadSessionResponse,
  mustReadAcp,
  newSessionRequest,
  newSessionResponse,
  permissionRequest,
  permissionResponse,
  promptRequest,
  promptResponse,
  readAcp,
  sessionUpdate,
  setConfigOptionRequest,
  setConfigOptionResponse,
  type ReadSessionUpdate,
} from "@sessiond/shared/acp";

const updateOf = (update: unknown): ReadSessionUpdate["update"] => mustReadAcp(sessionUpdate, { sessionId: "s", update }).update;

test("null where something may be absent counts as absent", () => {
  expect(
    updateOf({ sessionUpdate: "tool_call_update", toolCallId: "c", title: null, kind: null, status: null, content: null, locations: null, _meta: null }),
  ).toEqual({
    known: true,
    sessionUpdate: "tool_call_update",
    toolCallId: "c",
  });
  expect(mustReadAcp(newSessionResponse, { sessionId: "s", modes: null, configOptions: null })).toEqual({ sessionId: "s" });
  expect(mustReadAcp(listSessionsRequest, null)).toEqual({});
  expect(mustReadAcp(listSessionsRequest, { cwd: null, cursor: null })).toEqual({});
  const asked = mustReadAcp(initializeRequest, { protocolVersion: 1, clientInfo: null, clientCapabilities: null });
  expect(asked).toEqual(mustReadAcp(initializeRequest, { protocolVersion: 1 }));
  expect(asked.clientCapabilities).toMatchObject({
    terminal: false,
    fs: { readTextFile: false },
    session: { configOptions: { boolean: false } },
    elicitation: { form: false },
  });
});

test("B24 beyond acp_wrong_max wrong elements of a list no further one is looked at, and those before are kept", () => {
  let looked = 0;
  const schema = list(
    z
      .string()
      .transform((text) => (looked++, text))
      .or(z.null().transform(() => (looked++, null)))
      .or(z.custom(() => (looked++, false))),
  );
  const wrong = (count: number) => Array.from({ length: count }, () => 0);
  expect(mustReadAcp(schema, ["a", ...wrong(limits.acp_wrong_max), "b", 0, "c", ...wrong(10_000)])).toEqual(["a", "b"]);
  expect(looked).toBe(limits.acp_wrong_max + 3);
  // Of one message: as many lists as it likes have no more together. The next message has as many again.
  for (const times of [1, 2]) {
    looked = 0;
    mustReadAcp(
      list(schema),
      Array.from({ length: 240 }, () => wrong(limits.acp_wrong_max)),
    );
    expect([times, looked]).toEqual([times, limits.acp_wrong_max + 1]);
  }
});

test("B24 beyond acp_wrong_max what may be left out of a message is not looked at any more, whatever is wrong with it", () => {
  const many = <T>(one: T): T[] => Array.from({ length: limits.acp_wrong_max + 1 }, () => one);
  const right = { content: "x", priority: "high", status: "completed" };
  expect(updateOf({ sessionUpdate: "plan", entries: [...many({ content: "x", priority: 1 }), right] })).toMatchObject({
    entries: many({ content: "x", priority: "medium", status: "pending" }),
  });
  // What is not told is not wrong; what a tool call shows is never left out.
  expect(updateOf({ sessionUpdate: "plan", entries: [...many({ content: "x" }), right] })).toMatchObject({ entries: [...many({ content: "x" }), right] });
  const text = { type: "content", content: { type: "text", text: "t" } };
  const locations = [{ path: "/x" }];
  const call = { sessionUpdate: "tool_call_update", toolCallId: "c", status: "completed", rawOutput: [text] };
  expect(updateOf({ ...call, content: [...many({ type: "hologram" }), text], locations })).toEqual({
    known: true,
    ...call,
    locations,
    content: [...many({ type: "unknown", unknown: { type: "hologram" } }), { type: "unknown", unknown: text }],
  });
});

test("what may be absent and is wrong is left out, and the rest is kept", () => {
  expect(
    updateOf({
      sessionUpdate: "tool_call_update",
      toolCallId: "c",
      title: 7,
      kind: "levitate",
      status: "completed",
      locations: [{ path: "/a", line: "3" }, { line: 4 }, "x", { path: "/b", line: 5 }],
      content: [{ type: "diff", path: "/a", oldText: null, newText: "n" }, { type: "diff" }, { type: "hologram", of: "x" }],
      rawInput: null,
    }),
  ).toEqual({
    known: true,
    sessionUpdate: "tool_call_update",
    toolCallId: "c",
    status: "completed",
    locations: [{ path: "/a" }, { path: "/b", line: 5 }],
    content: [
      { type: "diff", path: "/a", newText: "n" },
      { type: "unknown", unknown: { type: "diff" } },
      { type: "unknown", unknown: { type: "hologram", of: "x" } },
    ],
    rawInput: null,
  });
  expect(
    updateOf({ sessionUpdate: "plan", entries: [{ content: "a", priority: "urgent" }, {}, { content: "b", priority: "low", status: "completed" }] }),
  ).toMatchObject({
    entries: [
      { content: "a", priority: "medium", status: "pending" },
      { content: "b", priority: "low", status: "completed" },
    ],
  });
  expect(mustReadAcp(initializeResponse, { protocolVersion: 1, agentInfo: { version: 3 }, authMethods: "none", agentCapabilities: [] })).toMatchObject({
    authMethods: [],
    agentCapabilities: { loadSession: false, sessionCapabilities: { resume: false } },
  });
});

test("an update of a kind that we do not know is kept as it came; one of a known kind without its id is refused by name", () => {
  const raw = { sessionUpdate: "hologram", of: "x" };
  expect(updateOf(raw)).toEqual({ known: false, raw });
  const cases: readonly (readonly [unknown, string])[] = [
    [{ sessionUpdate: "tool_call_update", title: "t" }, "update.toolCallId"],
    [{ sessionUpdate: "current_mode_update" }, "update.currentModeId"],
    [{ sessionUpdate: "usage_update", used: "many", size: 1 }, "update.used"],
    [{ title: "no kind" }, "update.sessionUpdate"],
    ["x", "update"],
  ];
  for (const [update, field] of cases) {
    const read = readAcp(sessionUpdate, { sessionId: "s", update });
    expect(read).toMatchObject({ ok: false, error: { code: acpErrors.invalid_params, data: { field }, message: expect.stringContaining(field) } });
  }
});

test("what is required and missing is invalid_params with the field's name", () => {
  const cases = [
    [newSessionRequest, {}, "cwd"],
    [newSessionRequest, null, "cwd"],
    [loadSessionRequest, { cwd: "/x" }, "sessionId"],
    [promptRequest, { sessionId: "s" }, "prompt"],
    [promptRequest, { sessionId: "", prompt: [] }, "sessionId"],
    [promptResponse, {}, "stopReason"],
    [permissionRequest, { sessionId: "s", toolCall: {}, options: [] }, "toolCall.toolCallId"],
    [permissionRequest, { sessionId: "s", toolCall: { toolCallId: "c" } }, "options"],
    [setConfigOptionRequest, { sessionId: "s", configId: "c", value: 3 }, "value"],
    [cancelNotification, [], "the whole"],
    [initializeResponse, { protocolVersion: "1" }, "protocolVersion"],
  ] as const;
  for (const [schema, raw, field] of cases) {
    expect(() => mustReadAcp(schema, raw)).toThrow(expect.objectContaining({ name: "AcpError", code: acpErrors.invalid_params, data: { field } }));
  }
});

test("nothing is allowed by an outcome that we do not know, and no policy chooses an option of an unknown kind", () => {
  const outcome = (raw: unknown) => mustReadAcp(permissionResponse, { outcome: raw }).outcome;
  expect(outcome({ outcome: "selected", optionId: "o" })).toEqual({ outcome: "selected", optionId: "o" });
  for (const raw of [
    { outcome: "cancelled" },
    { outcome: "cancelled", optionId: "o" },
    { outcome: "selected" },
    { outcome: "selected", optionId: null },
    { outcome: "allowed", optionId: "o" },
  ]) {
    expect(outcome(raw)).toEqual({ outcome: "cancelled" });
  }
  const { options } = mustReadAcp(permissionRequest, {
    sessionId: "s",
    toolCall: { toolCallId: "c" },
    options: [
      { optionId: "a", kind: "allow_forever", name: "A" },
      { optionId: "b", kind: "reject_once" },
      { name: "no id", kind: "allow_once" },
    ],
  });
  expect(options).toEqual([
    { optionId: "a", kind: "unknown", name: "A" },
    { optionId: "b", kind: "reject_once", name: "" },
  ]);
});

test("a prompt's block of a type that we do not know is told as one, so that its loss can be said", () => {
  const { prompt } = mustReadAcp(promptRequest, { sessionId: "s", prompt: [{ type: "text", text: "a" }, { type: "video" }, { type: "text" }, 7] });
  expect(prompt).toEqual([{ type: "text", text: "a" }, ...[{ type: "video" }, { type: "text" }, 7].map((unknown) => ({ type: "unknown", unknown }))]);
});

test("values of a select are one list, each with its heading", () => {
  const select = { id: "m", name: "M", type: "select", currentValue: "a", category: "model", description: null };
  const grouped = {
    ...select,
    options: [
      { group: "g", name: "G", options: [{ value: "a", name: "A" }, { name: "no value" }] },
      { value: "b", name: "B" },
    ],
  };
  expect(
    mustReadAcp(setConfigOptionResponse, {
      configOptions: [grouped, { ...select, options: "x" }, { id: "f", name: "F", type: "boolean", currentValue: true }],
    }),
  ).toEqual({
    configOptions: [
      {
        id: "m",
        name: "M",
        type: "select",
        currentValue: "a",
        category: "model",
        options: [
          { value: "a", name: "A", group: "G" },
          { value: "b", name: "B" },
        ],
      },
      { id: "f", name: "F", type: "boolean", currentValue: true },
    ],
  });
});

test("a title of null says that there is none any more, and an absent one that it is as it was", () => {
  expect(updateOf({ sessionUpdate: "session_info_update", title: null })).toMatchObject({ title: null });
  expect(updateOf({ sessionUpdate: "session_info_update", updatedAt: "2026-01-01T00:00:00Z" })).not.toHaveProperty("title");
});

// --- Recorded ---------------------------------------------------------------------------------

const recordings = join(import.meta.dirname, "../fixtures/acp");
/** By method: who reads its params, and its result. */
const readers = {
  initialize: [initializeRequest, initializeResponse],
  "session/new": [newSessionRequest, newSessionResponse],
  "session/load": [loadSessionRequest, loadSessionResponse],
  "session/list": [listSessionsRequest, listSessionsResponse],
  "session/prompt": [promptRequest, promptResponse],
  "session/request_permission": [permissionRequest, permissionResponse],
  "session/update": [sessionUpdate],
  "session/cancel": [cancelNotification],
} as const;

for (const file of readdirSync(recordings)) {
  test(`all that a real agent and its client said can be read: ${file}`, () => {
    const asked = new Map<string, string>();
    for (const line of readFileSync(join(recordings, file), "utf8").trim().split("\n")) {
      const { from, message } = JSON.parse(line) as { from: string; message: Record<string, unknown> };
      const { id, method, params, result, error } = message;
      if (error !== undefined) continue;
      const other = from === "agent" ? "client" : "agent";
      if (method !== undefined && id !== undefined) asked.set(`${from} ${String(id)}`, String(method));
      const name = String(method ?? asked.get(`${other} ${String(id)}`));
      const [ofParams, ofResult] = readers[name as keyof typeof readers] ?? [];
      const schema = method === undefined ? ofResult : ofParams;
      if (schema === undefined) continue; // what we do not do: fs, and methods of one agent's own
      const read = readAcp(schema, method === undefined ? result : params);
      expect(read, line).toMatchObject({ ok: true });
      // Nothing of what an update tells is lost on the way.
      if (name === "session/update" && read.ok)
        expect((params as { update: object }).update).toMatchObject(lessKnown((read.value as ReadSessionUpdate).update));
    }
  });
}

function lessKnown(update: ReadSessionUpdate["update"]): object {
  expect(update.known).toBe(true);
  const { known: _known, ...rest } = update;
  const text = JSON.stringify(rest);
  expect(text).not.toContain('"type":"unknown"');
  // Grouped values are read as one list.
  return JSON.parse(text.includes('"group"') ? "{}" : text) as object;
}

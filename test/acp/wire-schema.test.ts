/** What we send is ACP v1 as its own schema and its own types have it, not as we read it; what we read is lenient. */
import type * as sdk from "@agentclientprotocol/sdk";
import fc from "fast-check";
import { expect, expectTypeOf, test } from "vitest";
import type * as ours from "@sessiond/shared/acp";
import { acpPermissionKinds, acpStopReasons, acpToolKinds, acpToolStatuses } from "@sessiond/shared/acp";
import { stableMethods, validates, type AcpMessageKind, type AcpSide } from "../support/acp-schema.ts";
import { amount } from "../support/amount.ts";

// --- What we can send, by type -----------------------------------------------------------------

const text = fc.string({ maxLength: 8 });
/** Some fields there, some not; none there as undefined, which is no JSON. */
const record = <T extends object, K extends keyof T>(shape: { [P in keyof T]: fc.Arbitrary<Exclude<T[P], undefined>> }, requiredKeys: K[]) =>
  fc.record(shape as never, { requiredKeys: requiredKeys as never }) as unknown as fc.Arbitrary<T>;
const _meta = fc.constant({ "own.example/x": { deep: [1] } });
const list = <T>(one: fc.Arbitrary<T>) => fc.array(one, { maxLength: 3 });
const word = <const T extends string>(words: readonly T[]) => fc.constantFrom(...words);

type Block<T> = Extract<ours.AcpContentBlock, { type: T }>;
const block: fc.Arbitrary<ours.AcpContentBlock> = fc.oneof(
  record<Block<"text">, "type" | "text">({ type: fc.constant("text"), text, _meta }, ["type", "text"]),
  record<Block<"image">, "type" | "data" | "mimeType">({ type: fc.constant("image"), data: text, mimeType: text, uri: text, _meta }, [
    "type",
    "data",
    "mimeType",
  ]),
  record<Block<"audio">, "type" | "data" | "mimeType">({ type: fc.constant("audio"), data: text, mimeType: text, _meta }, ["type", "data", "mimeType"]),
  record<Block<"resource_link">, "type" | "uri" | "name">(
    { type: fc.constant("resource_link"), uri: text, name: text, title: text, description: text, mimeType: text, size: fc.nat(), _meta },
    ["type", "uri", "name"],
  ),
  fc.record({ type: fc.constant("resource"), resource: fc.oneof(fc.record({ uri: text, text }), fc.record({ uri: text, blob: text, mimeType: text })) }),
);
const toolContent: fc.Arbitrary<ours.AcpToolContent> = fc.oneof(
  fc.record({ type: fc.constant("content"), content: block }),
  record<Extract<ours.AcpToolContent, { type: "diff" }>, "type" | "path" | "newText">(
    { type: fc.constant("diff"), path: text, oldText: fc.option(text), newText: text },
    ["type", "path", "newText"],
  ),
  fc.record({ type: fc.constant("terminal"), terminalId: text }),
);
const tool = {
  toolCallId: text,
  title: text,
  name: text,
  kind: word(acpToolKinds),
  status: word(acpToolStatuses),
  content: list(toolContent),
  locations: list(record<ours.AcpLocation, "path">({ path: text, line: fc.nat() }, ["path"])),
  rawInput: fc.jsonValue(),
  rawOutput: fc.jsonValue(),
  _meta,
};
const toolCall = record<ours.AcpToolCall, "toolCallId" | "title">(tool as never, ["toolCallId", "title"]);
const toolCallUpdate = record<ours.AcpToolCallUpdate, "toolCallId">(tool as never, ["toolCallId"]);
const planEntry: fc.Arbitrary<ours.AcpPlanEntry> = fc.record({
  content: text,
  priority: word(["high", "medium", "low"]),
  status: word(["pending", "in_progress", "completed"]),
});
const mode = record<ours.AcpMode, "id" | "name">({ id: text, name: text, description: text }, ["id", "name"]);
const value = record<ours.AcpConfigValue, "value" | "name">({ value: text, name: text, description: text }, ["value", "name"]);
const configOption: fc.Arbitrary<ours.AcpConfigOption> = fc.oneof(
  record<Extract<ours.AcpConfigOption, { type: "select" }>, "id" | "name" | "type" | "currentValue" | "options">(
    { id: text, name: text, description: text, category: text, type: fc.constant("select"), currentValue: text, options: list(value) },
    ["id", "name", "type", "currentValue", "options"],
  ),
  record<Extract<ours.AcpConfigOption, { type: "boolean" }>, "id" | "name" | "type" | "currentValue">(
    { id: text, name: text, description: text, category: text, type: fc.constant("boolean"), currentValue: fc.boolean() },
    ["id", "name", "type", "currentValue"],
  ),
);
const update: fc.Arbitrary<ours.AcpUpdate> = fc.oneof(
  fc
    .tuple(word(["user_message_chunk", "agent_message_chunk", "agent_thought_chunk"]), block, fc.option(text, { nil: undefined }))
    .map(([sessionUpdate, content, messageId]) => ({ sessionUpdate, content, ...(messageId === undefined ? {} : { messageId }) })),
  toolCall.map((call) => ({ sessionUpdate: "tool_call" as const, ...call })),
  toolCallUpdate.map((call) => ({ sessionUpdate: "tool_call_update" as const, ...call })),
  fc.record({ sessionUpdate: fc.constant("plan"), entries: list(planEntry) }),
  fc.record({
    sessionUpdate: fc.constant("available_commands_update"),
    availableCommands: list(
      record<ours.AcpCommand, "name" | "description">({ name: text, description: text, input: fc.option(fc.record({ hint: text })) }, ["name", "description"]),
    ),
  }),
  fc.record({ sessionUpdate: fc.constant("current_mode_update"), currentModeId: text }),
  fc.record({ sessionUpdate: fc.constant("config_option_update"), configOptions: list(configOption) }),
  fc.record({ sessionUpdate: fc.constant("session_info_update"), title: fc.option(text), updatedAt: fc.option(text) }),
  fc
    .tuple(fc.nat(), fc.nat(), fc.option(fc.record({ amount: fc.float({ noNaN: true, noDefaultInfinity: true }), currency: text }), { nil: undefined }))
    .map(([used, size, cost]) => ({ sessionUpdate: "usage_update" as const, used, size, ...(cost === undefined ? {} : { cost }) })),
);
const who = record<ours.AcpImplementation, "name" | "version">({ name: text, version: text, title: text }, ["name", "version"]);
const flags = <K extends string>(...names: K[]) =>
  fc.record(Object.fromEntries(names.map((name) => [name, fc.boolean()])) as Record<K, fc.Arbitrary<boolean>>, { requiredKeys: [] });
const markers = <K extends string>(...names: K[]) =>
  fc.record(Object.fromEntries(names.map((name) => [name, fc.constant({})])) as Record<K, fc.Arbitrary<Record<string, never>>>, { requiredKeys: [] });
const settings = { modes: fc.record({ currentModeId: text, availableModes: list(mode) }), configOptions: list(configOption) };
const place = { cwd: text, mcpServers: fc.constant([]), additionalDirectories: list(text) };
const loads = record<ours.AcpLoadSessionRequest, "sessionId" | "cwd" | "mcpServers">({ sessionId: text, ...place, _meta }, ["sessionId", "cwd", "mcpServers"]);
const loaded = record<ours.AcpLoadSessionResponse, never>({ ...settings, _meta }, []);
const named: fc.Arbitrary<ours.AcpSessionName> = fc.record({ sessionId: text });

/** Kind, method, who sends it, and all that its type allows. */
const sent: readonly (readonly [AcpMessageKind, string, AcpSide, fc.Arbitrary<object>])[] = [
  [
    "request",
    "initialize",
    "client",
    record<ours.AcpInitializeRequest, "protocolVersion">(
      {
        protocolVersion: fc.constant(1),
        clientInfo: who,
        clientCapabilities: fc.record({
          fs: flags("readTextFile", "writeTextFile"),
          terminal: fc.boolean(),
          session: fc.record({ configOptions: markers("boolean"), notices: fc.constant({}), compaction: fc.constant({}) }, { requiredKeys: [] }),
        }),
        _meta,
      },
      ["protocolVersion"],
    ),
  ],
  [
    "response",
    "initialize",
    "agent",
    record<ours.AcpInitializeResponse, "protocolVersion">(
      {
        protocolVersion: fc.constant(1),
        agentInfo: who,
        authMethods: list(fc.record({ id: text, name: text, description: text })),
        agentCapabilities: fc.record({
          loadSession: fc.boolean(),
          promptCapabilities: flags("image", "audio", "embeddedContext"),
          mcpCapabilities: flags("http", "sse"),
          sessionCapabilities: markers("list", "delete", "additionalDirectories", "resume", "close"),
        }),
        _meta,
      },
      ["protocolVersion"],
    ),
  ],
  ["request", "session/new", "client", record<ours.AcpNewSessionRequest, "cwd" | "mcpServers">({ ...place, _meta }, ["cwd", "mcpServers"])],
  ["response", "session/new", "agent", record<ours.AcpNewSessionResponse, "sessionId">({ sessionId: text, ...settings, _meta }, ["sessionId"])],
  ["request", "session/load", "client", loads],
  ["response", "session/load", "agent", loaded],
  ["request", "session/resume", "client", loads],
  ["response", "session/resume", "agent", loaded],
  [
    "response",
    "session/list",
    "agent",
    record<ours.AcpListSessionsResponse, "sessions">(
      {
        sessions: list(
          record<ours.AcpSessionInfo, "sessionId" | "cwd">({ sessionId: text, cwd: text, title: text, updatedAt: text, _meta }, ["sessionId", "cwd"]),
        ),
        nextCursor: text,
        _meta,
      },
      ["sessions"],
    ),
  ],
  ["request", "session/prompt", "client", fc.record<ours.AcpPromptRequest>({ sessionId: text, prompt: list(block) })],
  ["response", "session/prompt", "agent", record<ours.AcpPromptResponse, "stopReason">({ stopReason: word(acpStopReasons), _meta }, ["stopReason"])],
  ["request", "session/set_mode", "client", fc.record<ours.AcpSetModeRequest>({ sessionId: text, modeId: text })],
  ["response", "session/set_mode", "agent", fc.constant({})],
  [
    "request",
    "session/set_config_option",
    "client",
    fc.oneof<fc.Arbitrary<ours.AcpSetConfigOptionRequest>[]>(
      fc.record({ sessionId: text, configId: text, value: text }),
      fc.record({ sessionId: text, configId: text, type: fc.constant("boolean" as const), value: fc.boolean() }),
    ),
  ],
  ["response", "session/set_config_option", "agent", fc.record<ours.AcpSetConfigOptionResponse>({ configOptions: list(configOption) })],
  ["request", "session/close", "client", named],
  ["request", "session/delete", "client", named],
  ["response", "session/close", "agent", fc.constant({})],
  ["response", "session/delete", "agent", fc.constant({})],
  ["notification", "session/cancel", "client", named],
  ["notification", "$/cancel_request", "client", fc.record({ requestId: fc.nat() })],
  ["notification", "session/update", "agent", fc.record<ours.AcpSessionUpdate>({ sessionId: text, update })],
  [
    "request",
    "session/request_permission",
    "agent",
    fc.record<ours.AcpPermissionRequest>({
      sessionId: text,
      toolCall: toolCallUpdate,
      options: list(fc.record({ optionId: text, name: text, kind: word(acpPermissionKinds) })),
    }),
  ],
  [
    "response",
    "session/request_permission",
    "client",
    fc.oneof<fc.Arbitrary<ours.AcpPermissionResponse>[]>(
      fc.constant({ outcome: { outcome: "cancelled" } }),
      fc.record({ outcome: fc.record({ outcome: fc.constant("selected"), optionId: text }) }),
    ),
  ],
];

const onTheWire = (kind: AcpMessageKind, method: string, body: unknown): unknown =>
  JSON.parse(
    JSON.stringify(
      kind === "response" ? { jsonrpc: "2.0", id: 1, result: body } : { jsonrpc: "2.0", ...(kind === "request" ? { id: 1 } : {}), method, params: body },
    ),
  );

for (const [kind, method, side, bodies] of sent) {
  test(`every ${kind} ${method} that our types allow is one of the protocol's schema`, () => {
    fc.assert(
      fc.property(bodies, (body) => validates(kind, method, side, onTheWire(kind, method, body))),
      { numRuns: amount(60, 1_000) },
    );
  });
}

/** Without `readonly`, which the SDK's types do not know. */
type Loose<T> = T extends (...args: never[]) => unknown ? T : T extends object ? { -readonly [K in keyof T]: Loose<T[K]> } : T;

test("our types of what we send are assignable to the SDK's", () => {
  expectTypeOf<Loose<ours.AcpInitializeRequest>>().toExtend<sdk.InitializeRequest>();
  expectTypeOf<Loose<ours.AcpInitializeResponse>>().toExtend<sdk.InitializeResponse>();
  expectTypeOf<Loose<ours.AcpNewSessionRequest>>().toExtend<sdk.NewSessionRequest>();
  expectTypeOf<Loose<ours.AcpNewSessionResponse>>().toExtend<sdk.NewSessionResponse>();
  expectTypeOf<Loose<ours.AcpLoadSessionRequest>>().toExtend<sdk.LoadSessionRequest>();
  expectTypeOf<Loose<ours.AcpLoadSessionRequest>>().toExtend<sdk.ResumeSessionRequest>();
  expectTypeOf<Loose<ours.AcpLoadSessionResponse>>().toExtend<sdk.LoadSessionResponse>();
  expectTypeOf<Loose<ours.AcpListSessionsResponse>>().toExtend<sdk.ListSessionsResponse>();
  expectTypeOf<Loose<ours.AcpPromptRequest>>().toExtend<sdk.PromptRequest>();
  expectTypeOf<Loose<ours.AcpPromptResponse>>().toExtend<sdk.PromptResponse>();
  expectTypeOf<Loose<ours.AcpSetModeRequest>>().toExtend<sdk.SetSessionModeRequest>();
  expectTypeOf<Loose<ours.AcpSetConfigOptionRequest>>().toExtend<sdk.SetSessionConfigOptionRequest>();
  expectTypeOf<Loose<ours.AcpSetConfigOptionResponse>>().toExtend<sdk.SetSessionConfigOptionResponse>();
  expectTypeOf<Loose<ours.AcpSessionUpdate>>().toExtend<sdk.SessionNotification>();
  expectTypeOf<Loose<ours.AcpPermissionRequest>>().toExtend<sdk.RequestPermissionRequest>();
  expectTypeOf<Loose<ours.AcpPermissionResponse>>().toExtend<sdk.RequestPermissionResponse>();
});

// --- The measure itself -------------------------------------------------------------------------

test("the measure knows every stable method, and refuses what is wrong", () => {
  expect(stableMethods("agent", "request")).toContain("session/prompt");
  expect(stableMethods("client", "notification")).toContain("session/update");
  const update = (params: unknown) => ({ jsonrpc: "2.0", method: "session/update", params });
  const chunk = { sessionUpdate: "agent_message_chunk", content: { type: "text", text: "x" } };
  expect(validates("notification", "session/update", "agent", update({ sessionId: "s", update: chunk }))).toBe(true);
  expect(validates("response", "session/new", "agent", { jsonrpc: "2.0", id: 1, error: { code: -32603, message: "no" } })).toBe(true);
  expect(validates("request", "_own/thing", "agent", { jsonrpc: "2.0", id: 1, method: "_own/thing", params: 1 })).toBe(true);
  const wrong: readonly (readonly [AcpMessageKind, string, AcpSide, unknown])[] = [
    ["notification", "session/update", "client", update({ sessionId: "s", update: chunk })],
    ["notification", "session/update", "agent", update({ session_id: "s", update: chunk })],
    ["notification", "session/update", "agent", update({ sessionId: "s", update: { ...chunk, sessionUpdate: "agent_message" } })],
    ["notification", "session/update", "agent", update({ sessionId: "s", update: { ...chunk, content: "x" } })],
    ["notification", "session/update", "agent", { ...update({ sessionId: "s", update: chunk }), id: 1 }],
    ["request", "session/update", "agent", { ...update({ sessionId: "s", update: chunk }), id: 1 }],
    ["response", "session/prompt", "agent", { jsonrpc: "2.0", id: 1, result: { stopReason: "interrupted" } }],
    ["response", "session/prompt", "agent", { jsonrpc: "2.0", id: 1, result: null }],
    ["response", "session/prompt", "client", { jsonrpc: "2.0", id: 1, result: { stopReason: "end_turn" } }],
    ["response", "session/prompt", "agent", { jsonrpc: "2.0", id: 1, error: { code: "x", message: "no" } }],
    ["response", "session/prompt", "agent", { id: 1, result: { stopReason: "end_turn" } }],
    ["request", "session/unknown", "client", { jsonrpc: "2.0", id: 1, method: "session/unknown", params: {} }],
  ];
  for (const one of wrong) expect(() => validates(...one), JSON.stringify(one)).toThrow();
});

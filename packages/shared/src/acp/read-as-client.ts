import { z } from "zod";
import { flag, list, marker, maybe, maybeList, meta, or, parts } from "./lenient.ts";
import { configOption, configOptions, modes } from "./session-settings.ts";
import { acpPermissionKinds, toolCallUpdate } from "./session-update.ts";

// What a client reads: answers of an agent, and what it asks.

/** Name and version of a program. */
export const implementation = maybe(z.object({ name: z.string(), version: z.string().catch(""), title: maybe(z.string()) }));

const authMethod = z.object({ id: z.string(), name: z.string(), description: maybe(z.string()), type: maybe(z.string()), _meta: meta });

export const initializeResponse = z.object({
  protocolVersion: z.number(),
  agentInfo: implementation,
  authMethods: maybeList(authMethod),
  agentCapabilities: parts({
    loadSession: flag,
    promptCapabilities: parts({ image: flag, audio: flag, embeddedContext: flag }),
    mcpCapabilities: parts({ http: flag, sse: flag }),
    sessionCapabilities: parts({ list: marker, delete: marker, additionalDirectories: marker, resume: marker, close: marker }),
    auth: parts({ logout: marker }),
    _meta: meta,
  }),
  _meta: meta,
});
export type ReadInitializeResponse = z.output<typeof initializeResponse>;

const settings = { modes, configOptions, _meta: meta };
export const newSessionResponse = z.object({ sessionId: z.string().min(1), ...settings });
export type ReadNewSessionResponse = z.output<typeof newSessionResponse>;

export const loadSessionResponse = z.object(settings);
export const resumeSessionResponse = z.object(settings);
/** Of `session/load` and `session/resume`. */
export type ReadLoadSessionResponse = z.output<typeof loadSessionResponse>;

export const listSessionsResponse = z.object({
  sessions: list(z.object({ sessionId: z.string(), cwd: z.string(), title: maybe(z.string()), updatedAt: maybe(z.string()), _meta: meta })),
  nextCursor: maybe(z.string()),
});
export type ReadListSessionsResponse = z.output<typeof listSessionsResponse>;

export const setConfigOptionResponse = z.object({ configOptions: list(configOption) });
export type ReadSetConfigOptionResponse = z.output<typeof setConfigOptionResponse>;

const tokens = maybe(z.number().nonnegative());
/** `usage` is not in the stable protocol, and told by many. */
const usage = maybe(
  z.object({
    inputTokens: tokens,
    outputTokens: tokens,
    totalTokens: tokens,
    thoughtTokens: tokens,
    cachedReadTokens: tokens,
    cachedWriteTokens: tokens,
  }),
);
/** Reasons of ACP; an agent may tell another. */
export const acpStopReasons = ["end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled"] as const;
export const promptResponse = z.object({ stopReason: z.string(), usage, _meta: meta });
export type ReadPromptResponse = z.output<typeof promptResponse>;

const permissionOption = z.object({
  optionId: z.string(),
  name: or(z.string(), ""),
  /** "unknown": of a kind that we do not know; shown, and never chosen by a policy. */
  kind: or(z.enum([...acpPermissionKinds, "unknown"]), "unknown"),
  _meta: meta,
});
/** Params of `session/request_permission`. */
export const permissionRequest = z.object({ sessionId: z.string(), toolCall: toolCallUpdate, options: list(permissionOption), _meta: meta });
export type ReadPermissionRequest = z.output<typeof permissionRequest>;

import type { acpPermissionKinds, acpToolKinds, acpToolStatuses } from "./session-update.ts";
import type { acpStopReasons } from "./read-as-client.ts";

// What we send, exactly as ACP v1 has it. Test/acp holds these types against the protocol's own schema.

export type AcpToolKind = (typeof acpToolKinds)[number];
export type AcpToolStatus = (typeof acpToolStatuses)[number];
export type AcpPermissionKind = (typeof acpPermissionKinds)[number];
export type AcpStopReason = (typeof acpStopReasons)[number];
type Meta = { readonly _meta?: Readonly<Record<string, unknown>> };

export type AcpContentBlock =
  | ({ readonly type: "text"; readonly text: string } & Meta)
  | ({ readonly type: "image"; readonly data: string; readonly mimeType: string; readonly uri?: string } & Meta)
  | ({ readonly type: "audio"; readonly data: string; readonly mimeType: string } & Meta)
  | ({
      readonly type: "resource_link";
      readonly uri: string;
      readonly name: string;
      readonly title?: string;
      readonly description?: string;
      readonly mimeType?: string;
      readonly size?: number;
    } & Meta)
  | ({
      readonly type: "resource";
      readonly resource: { readonly uri: string; readonly mimeType?: string } & ({ readonly text: string } | { readonly blob: string });
    } & Meta);

export type AcpToolContent =
  | { readonly type: "content"; readonly content: AcpContentBlock }
  | { readonly type: "diff"; readonly path: string; readonly oldText?: string | null; readonly newText: string }
  | { readonly type: "terminal"; readonly terminalId: string };

export interface AcpLocation {
  readonly path: string;
  /** Counted from 1, as ACP has it. */
  readonly line?: number;
}

export interface AcpToolCallUpdate extends Meta {
  readonly toolCallId: string;
  readonly title?: string;
  readonly name?: string;
  readonly kind?: AcpToolKind;
  readonly status?: AcpToolStatus;
  readonly content?: readonly AcpToolContent[];
  readonly locations?: readonly AcpLocation[];
  readonly rawInput?: unknown;
  readonly rawOutput?: unknown;
}
export interface AcpToolCall extends AcpToolCallUpdate {
  readonly title: string;
}

export interface AcpPlanEntry {
  readonly content: string;
  readonly priority: "high" | "medium" | "low";
  readonly status: "pending" | "in_progress" | "completed";
}
export interface AcpCommand {
  readonly name: string;
  readonly description: string;
  readonly input?: { readonly hint: string } | null;
}
/** Tokens in the context, and how many fit. */
export interface AcpUsage {
  readonly used: number;
  readonly size: number;
  readonly cost?: { readonly amount: number; readonly currency: string };
}

export interface AcpMode {
  readonly id: string;
  readonly name: string;
  readonly description?: string;
}
export interface AcpModes {
  readonly currentModeId: string;
  readonly availableModes: readonly AcpMode[];
}
interface ConfigOption {
  readonly id: string;
  readonly name: string;
  readonly description?: string;
  /** `mode`, `model`, `model_config`, `thought_level`, or one's own with a leading `_`. */
  readonly category?: string;
}
export interface AcpConfigValue {
  readonly value: string;
  readonly name: string;
  readonly description?: string;
}
/** Booleans go only to a client that declared `session.configOptions.boolean`. */
export type AcpConfigOption = ConfigOption &
  (
    | { readonly type: "select"; readonly currentValue: string; readonly options: readonly AcpConfigValue[] }
    | { readonly type: "boolean"; readonly currentValue: boolean }
  );

type Chunk = { readonly content: AcpContentBlock; readonly messageId?: string } & Meta;
export type AcpUpdate =
  | ({ readonly sessionUpdate: "user_message_chunk" | "agent_message_chunk" | "agent_thought_chunk" } & Chunk)
  | ({ readonly sessionUpdate: "tool_call" } & AcpToolCall)
  | ({ readonly sessionUpdate: "tool_call_update" } & AcpToolCallUpdate)
  | ({ readonly sessionUpdate: "plan"; readonly entries: readonly AcpPlanEntry[] } & Meta)
  | ({ readonly sessionUpdate: "available_commands_update"; readonly availableCommands: readonly AcpCommand[] } & Meta)
  | ({ readonly sessionUpdate: "current_mode_update"; readonly currentModeId: string } & Meta)
  | ({ readonly sessionUpdate: "config_option_update"; readonly configOptions: readonly AcpConfigOption[] } & Meta)
  | ({ readonly sessionUpdate: "session_info_update"; readonly title?: string | null; readonly updatedAt?: string | null } & Meta)
  | ({ readonly sessionUpdate: "usage_update" } & AcpUsage & Meta);

/** Params of `session/update`. */
export interface AcpSessionUpdate extends Meta {
  readonly sessionId: string;
  readonly update: AcpUpdate;
}

export interface AcpPermissionOption {
  readonly optionId: string;
  readonly name: string;
  readonly kind: AcpPermissionKind;
}
/** Params of `session/request_permission`. */
export interface AcpPermissionRequest extends Meta {
  readonly sessionId: string;
  readonly toolCall: AcpToolCallUpdate;
  readonly options: readonly AcpPermissionOption[];
}
export interface AcpPermissionResponse {
  readonly outcome: { readonly outcome: "cancelled" } | { readonly outcome: "selected"; readonly optionId: string };
}

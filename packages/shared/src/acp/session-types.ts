import type { AcpConfigOption, AcpContentBlock, AcpModes, AcpStopReason } from "./message-types.ts";

// What we send to begin and to lead sessions: as an agent its answers, as a client its requests. As exact as message-types.ts.

type Meta = { readonly _meta?: Readonly<Record<string, unknown>> };
/** Present, as an empty object, says yes. */
type Marker = Readonly<Record<string, never>>;

export interface AcpImplementation {
  readonly name: string;
  readonly version: string;
  readonly title?: string;
}

export interface AcpInitializeRequest extends Meta {
  readonly protocolVersion: number;
  readonly clientInfo?: AcpImplementation;
  readonly clientCapabilities?: {
    readonly fs?: { readonly readTextFile?: boolean; readonly writeTextFile?: boolean };
    readonly terminal?: boolean;
    readonly session?: { readonly configOptions?: { readonly boolean?: Marker }; readonly notices?: Marker; readonly compaction?: Marker };
  } & Meta;
}
export interface AcpInitializeResponse extends Meta {
  readonly protocolVersion: number;
  readonly agentInfo?: AcpImplementation;
  readonly authMethods?: readonly { readonly id: string; readonly name: string; readonly description?: string }[];
  readonly agentCapabilities?: {
    readonly loadSession?: boolean;
    readonly promptCapabilities?: { readonly image?: boolean; readonly audio?: boolean; readonly embeddedContext?: boolean };
    readonly mcpCapabilities?: { readonly http?: boolean; readonly sse?: boolean };
    readonly sessionCapabilities?: {
      readonly list?: Marker;
      readonly delete?: Marker;
      readonly additionalDirectories?: Marker;
      readonly resume?: Marker;
      readonly close?: Marker;
    };
  } & Meta;
}

/** Absolute paths; of MCP servers we send none. */
export interface AcpNewSessionRequest extends Meta {
  readonly cwd: string;
  readonly mcpServers: readonly never[];
  readonly additionalDirectories?: readonly string[];
}
/** Of `session/load` and `session/resume`. */
export interface AcpLoadSessionRequest extends AcpNewSessionRequest {
  readonly sessionId: string;
}
/** Of `session/load` and `session/resume`. */
export interface AcpLoadSessionResponse extends Meta {
  readonly modes?: AcpModes;
  readonly configOptions?: readonly AcpConfigOption[];
}
export interface AcpNewSessionResponse extends AcpLoadSessionResponse {
  readonly sessionId: string;
}

export interface AcpSessionInfo extends Meta {
  readonly sessionId: string;
  readonly cwd: string;
  readonly title?: string;
  /** ISO 8601. */
  readonly updatedAt?: string;
}
export interface AcpListSessionsResponse extends Meta {
  readonly sessions: readonly AcpSessionInfo[];
  readonly nextCursor?: string;
}

export interface AcpPromptRequest extends Meta {
  readonly sessionId: string;
  readonly prompt: readonly AcpContentBlock[];
}
export interface AcpPromptResponse extends Meta {
  readonly stopReason: AcpStopReason;
}
export interface AcpSetModeRequest {
  readonly sessionId: string;
  readonly modeId: string;
}
/** A boolean says its type, a value of a select does not. */
export type AcpSetConfigOptionRequest = { readonly sessionId: string; readonly configId: string } & (
  | { readonly value: string }
  | { readonly type: "boolean"; readonly value: boolean }
);
export interface AcpSetConfigOptionResponse {
  readonly configOptions: readonly AcpConfigOption[];
}
/** Params of `session/cancel`, `session/close`, `session/delete`. */
export interface AcpSessionName {
  readonly sessionId: string;
}

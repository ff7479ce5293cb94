/** The version of the protocol that is spoken here. */
export const acpVersion = 1;

export { AcpError, acpErrors, isAcpError, type AcpErrorShape } from "./acp-error.ts";
export { JsonRpcPeer, type PeerOptions } from "./json-rpc-peer.ts";
export type { RequestId } from "./json-rpc-message.ts";
export type { RequestOptions } from "./our-requests.ts";
export type { IncomingRequest } from "./their-requests.ts";

export { mustReadAcp, readAcp, type AcpRead } from "./lenient.ts";
export type { ReadContentBlock, ReadToolContent } from "./content.ts";
export type { ReadConfigOption, ReadConfigValue } from "./session-settings.ts";
export * from "./read-as-agent.ts";
export * from "./read-as-client.ts";
export * from "./session-update.ts";

export type * from "./message-types.ts";
export type * from "./session-types.ts";

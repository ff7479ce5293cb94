/**
 * The client library of sessiond, without anything of Node: a page fills `Dial` itself.
 * Programs on Node take `connect` and `sessionFromToken` from `@sessiond/client/node`.
 */
export { type CallOptions } from "./call-limit.ts";
export { Connection } from "./connection.ts";
export { Door, type DoorOptions } from "./door.ts";
export { DriverSeat, type ApprovalAnswer, type PromptOptions, type SentPrompt } from "./driver-seat.ts";
export { Host, type DaemonStatus, type HostParts, type LifeOptions, type SessionFilter, type SessionList, type StartOptions } from "./host.ts";
export { newPromptId } from "./ids.ts";
export { ViewerSeat } from "./seat.ts";
export { type ResetCause, type SeatEvent } from "./seat-events.ts";
export { type SeatConnection } from "./seat-stream.ts";
export { HostSession, type InterruptOutcome, type MintedToken, type MintRequest, type SessionPage } from "./session-handle.ts";
export { Session, type AttachDriver, type AttachDriverOrViewer, type AttachViewer, type Authorization } from "./session.ts";
export { type Turn } from "./turn-waits.ts";
export { type Dial, type Wire, type WireEnd, type WireListener } from "./wire.ts";
export {
  isSessiondError,
  readToken,
  SessiondError,
  version,
  type Actor,
  type Approval,
  type ApprovalOption,
  type ContentPart,
  type ErrorCode,
  type Fault,
  type Frame,
  type Message,
  type QueuedPrompt,
  type Role,
  type Seat as SeatFacts,
  type SessionEvent,
  type SessionInfo,
  type SessionListing,
  type SessionState,
  type Status,
  type StopReason,
  type TokenRecord,
} from "@sessiond/shared";

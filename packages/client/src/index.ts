/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The client library of sessiond, without anything of Node: a page takes `connectTo`.
 * Programs on Node take `connect` and `sessionFromToken` from `@sessiond/client/node`.
 */
export { type CallOptions } from "./call-limit.ts";
export { Connection } from "./connection.ts";
export { connectTo, type RemoteOptions } from "./connect-to.ts";
export { Door, type DoorOptions } from "./door.ts";
export { DriverSeat, type ApprovalAnswer, type ConfigureRequest, type Configured, type PromptOptions, type SentPrompt } from "./driver-seat.ts";
export { Host, type DaemonStatus, type HostParts, type LifeOptions, type SessionFilter, type SessionList, type StartOptions } from "./host.ts";
export { HostSession } from "./host-session.ts";
export { newPromptId } from "./ids.ts";
export { type KeyRequest, type ShownKey } from "./key-ring.ts";
export { HostObserver } from "./observer.ts";
export { webSocketDial } from "./page-socket.ts";
export { ViewerSeat } from "./seat.ts";
export { type ResetCause, type SeatEvent } from "./seat-events.ts";
export { type SeatConnection } from "./seat-stream.ts";
export { type InterruptOutcome, type MintedToken, type MintRequest, type SessionPage } from "./session-handle.ts";
export { SessionWatch, type WatchFilter } from "./session-watch.ts";
export { Served, type ServedAgent } from "./serve-agent.ts";
export { Session, type AttachDriver, type AttachDriverOrViewer, type AttachViewer, type Authorization, type Differing } from "./session.ts";
export { type TakeRequest } from "./take-driver.ts";
export { type Turn } from "./turn-waits.ts";
export { type SessionFacts, type WaitGoal } from "./wait.ts";
export { type ServedAnswer, type ServedEvent, type ServedQuestion, type TurnToRun } from "./turn-to-run.ts";
export { type WatchEvent } from "./watch-queue.ts";
export { type WatchedSession, type WatchedSessions } from "./watched-session.ts";
export { type Dial, type Wire, type WireEnd, type WireListener } from "./wire.ts";
export {
  isSessiondError,
  readToken,
  SessiondError,
  version,
  wordsOf,
  type Actor,
  type AgentCommand,
  type AgentFacts,
  type AgentFactsTold,
  type AgentInfo,
  type AgentMode,
  type AgentOption,
  type Approval,
  type ApprovalOption,
  type Became,
  type ContentPart,
  type Diff,
  type DriverRequest,
  type ErrorCode,
  type Fault,
  type Frame,
  type HostEvent,
  type HostFrame,
  type KeyRecord,
  type Location,
  type Message,
  type OwnAnswer,
  type OpenCall,
  type OptionValues,
  type PlanEntry,
  type Policy,
  type QueuedPrompt,
  type Role,
  type Rule,
  type Scope,
  type Sandbox,
  type Seat as SeatFacts,
  type SessionEvent,
  type SessionInfo,
  type SessionListing,
  type SessionState,
  type Status,
  type StopReason,
  type TokenRecord,
  type ToolKind,
  type TouchedFile,
  type WhenBusy,
} from "@sessiond/shared";

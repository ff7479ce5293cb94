import { createHash } from "node:crypto";
import type {
  AgentInfo,
  AgentOption,
  ApprovalCause,
  ApprovalOption,
  Chosen,
  ContentPart,
  EventOf,
  RulePattern,
  Sandbox,
  SessionEvent,
  StopReason,
  Usage,
} from "@sessiond/shared";
import type { Transcript } from "./transcript.ts";

/**
 * The port behind which an agent works. A session drives one agent, one turn at a time; the
 * agent knows neither seats nor journal nor sockets. Whatever goes wrong with a model is data
 * (a last `turn_end` with `failed`), never an exception; an exception is a bug.
 */
type Unnumbered<T extends SessionEvent> = T extends { turn_id: string } ? Omit<T, "turn_id"> : never;

/** What an agent may say during a turn; the session adds the turn's id and applies it. */
export type AgentEvent =
  | Unnumbered<
      EventOf<
        "agent_message_chunk" | "agent_thought_chunk" | "tool_call" | "tool_call_chunk" | "tool_call_changed" | "tool_call_update" | "plan" | "agent_update"
      >
    >
  | { readonly type: "turn_end"; readonly stop_reason: StopReason; readonly error?: { code: string; message: string }; readonly usage?: Usage };

/** One event, or chunks of text that came together: in a group they cost no step of the agent each. */
export type AgentSays = AgentEvent | readonly Extract<AgentEvent, { type: "agent_message_chunk" | "agent_thought_chunk" }>[];

/** What an agent may say at any time, and what stands beyond the turn. */
export type AgentFact = EventOf<"agent_facts" | "agent_conversation" | "notice">;

export interface Question {
  readonly toolCallId: string;
  readonly tool: string;
  readonly input: Record<string, unknown>;
  /** Whole; the session escapes deceptive characters. */
  readonly preview: string;
  /** From `bindingDigest`. */
  readonly digest: string;
  /** What an answer may be remembered for, exactly; null: it can only be given once. */
  readonly pattern: RulePattern | null;
  /** The agent's own answers, in place of the daemon's. Their ids are minted for this question: an agent's own could name any gate. */
  readonly options?: readonly ApprovalOption[];
}

/** `digest` is that of the question as it was shown; a tool compares it with the world just before it acts. */
export type Answer = ({ readonly allowed: true; readonly digest: string } | { readonly allowed: false; readonly reason: string }) & {
  /** What was chosen, where somebody chose. */
  readonly optionId?: string | undefined;
  /** How the question ended. */
  readonly cause?: ApprovalCause;
};

export interface AgentTurn {
  readonly turnId: string;
  /** Aborts at interrupt, stop and shutdown: end children and return soon; what is yielded afterwards is dropped. */
  readonly signal: AbortSignal;
  /**
   * Raise a question and wait for its end. The first about a tool call after a restart joins the
   * question that is open about it; any further one waits until the one before it has its answer.
   *
   * @param givenUp  aborts when the agent waits for the answer no more: the question ends as `withdrawn`, as it does when its call is over
   * @returns a refusal when the turn is aborted, or nobody can be asked; rejects with bugs alone
   */
  ask(question: Question, givenUp?: AbortSignal): Promise<Answer>;
  /**
   * Deliver the prompts that were sent to steer this turn. Call it before each model call, and
   * once more before an end.
   *
   * @returns how many there were; they are the transcript's last entries then
   */
  takeSteering(): number;
}

export interface Agent {
  /**
   * `park`: a turn whose unfinished calls all wait for answers can be taken up by `resume` after a restart.
   * `steer`: it comes for prompts in the middle of a turn.
   */
  readonly capabilities: { readonly park: boolean; readonly steer: boolean };
  /**
   * Look for what it needs in the world, before `unavailable` is asked: that answers at once. Never fails; of a disk that does
   * not answer it may take for ever, so whoever asks meanwhile gets the one that is under way.
   */
  look?(): Promise<void>;
  /** Null when a prompt could run now; else a sentence that says what is missing and how to set it. */
  unavailable(): string | null;
  /**
   * Run one turn. The prompt is already the transcript's last entry.
   *
   * The session pulls the next event only when it has applied the last one, and after
   * `tool_call_update in_progress` only when that frame is on disk: run the tool after that yield.
   *
   * @yields  events, `turn_end` last
   */
  prompt(parts: readonly ContentPart[], turn: AgentTurn): AsyncIterable<AgentSays>;
  /** Take up a parked turn from the transcript: its unfinished calls are still open. */
  resume(turn: AgentTurn): AsyncIterable<AgentSays>;
  /** Why it cannot take these parts, or null; absent: it takes text, and of all else the words (`wordsOf`). */
  refuses?(parts: readonly ContentPart[]): string | null;
  /** Something else was chosen for it (`AgentContext.chosen`): follow when you can, and tell what holds then. */
  chosenChanged?(): void;
  /** End all children; resolves when they are gone or the kill bound has passed. */
  close(): Promise<void>;
}

export interface AgentContext {
  readonly sessionId: string;
  /** Real path. */
  readonly workdir: string;
  readonly model: string;
  /** What the life was started with, for its tools; over what the daemon itself has for them. */
  readonly env: Readonly<Record<string, string>>;
  /** In what its commands run. */
  readonly sandbox: Sandbox;
  /** Everything said and done so far; ask once a turn, it grows while that runs. @throws SessiondError storage_failed */
  transcript(): Promise<Transcript>;
  /** What people chose for it, as of now. */
  chosen(): Chosen & { readonly model: string };
  /** Its own name for the conversation, from `agent_conversation`; null when it never ran, or another agent did. */
  conversation(): string | null;
  /** Whether there is anything in the conversation that an agent could have forgotten: turns before this one. */
  turnsBefore(): number;
  /** Dropped while the session cannot write. */
  tell(fact: AgentFact): void;
  /** Null when the disk keeps up with what was told. */
  drained(): Promise<void> | null;
}

/** One agent that the daemon offers. */
export interface AgentKind {
  readonly name: string;
  /** The model to use when the caller names none; may be "" when nothing is configured. */
  readonly defaultModel: string;
  /**
   * False: `start_*` and `configure_session` refuse with `model_unknown`.
   *
   * @param told  the options that the session's agent told of, perhaps none; null where it has not run
   */
  knowsModel(model: string, told: readonly AgentOption[] | null): boolean;
  /** The model is a setting of a running agent: another one is chosen by `chosenChanged`, not by another agent. */
  readonly modelIsSetting?: true;
  /** As for an agent: before `isOffered` and `info` are asked. */
  look?(): Promise<void>;
  /** False: it can be named, and `list_agents` leaves it out; absent: it is offered. */
  isOffered?(): boolean;
  /** What `list_agents` tells. */
  info(): AgentInfo;
  /** Null when its commands can be run in a sandbox here; else what is missing and how to get it. Absent: it has none. */
  whyNoSandbox?(): Promise<string | null>;
  create(context: AgentContext): Agent;
}

/**
 * What binds an answer to what was shown.
 *
 * @param fileDigest  SHA-256 of the file that a write or edit replaces, `absent` when there is none
 * @returns SHA-256 in hex over tool, input (keys sorted) and file
 */
export function bindingDigest(tool: string, input: Record<string, unknown>, fileDigest = ""): string {
  return createHash("sha256")
    .update(JSON.stringify([tool, sorted(input), fileDigest]))
    .digest("hex");
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, sorted(inner)]),
  );
}

import { version, type AgentFactsTold, type EventOf, type Limits } from "@sessiond/shared";
import {
  acpErrors,
  acpVersion,
  initializeResponse,
  isAcpError,
  loadSessionResponse,
  mustReadAcp,
  newSessionResponse,
  resumeSessionResponse,
  type AcpInitializeRequest,
  type AcpLoadSessionRequest,
  type AcpNewSessionRequest,
  type JsonRpcPeer,
  type ReadInitializeResponse,
  type ReadLoadSessionResponse,
} from "@sessiond/shared/acp";
import { modesOf, optionsOf } from "./facts.ts";
import type { Hide } from "./hidden-secrets.ts";
import type { AgentEntry } from "./known-agents.ts";
import type { Takes } from "./parts.ts";
import { quoted, TurnFailure, wordsOfError } from "./start-failure.ts";

/** From a started process to a conversation: what the agent can, and then the conversation of before where it still has it, else a new one. */
export interface Opening {
  readonly entry: AgentEntry;
  readonly workdir: string;
  /** The agent's name for the conversation of before; null when there was none. */
  readonly conversation: string | null;
  readonly limits: Limits;
  readonly hide: Hide;
  /** Aborts when nobody waits for it any more. */
  readonly signal: AbortSignal;
}

export interface Opened {
  /** The agent's name for the conversation. */
  readonly id: string;
  readonly how: EventOf<"agent_conversation">["how"];
  readonly takes: Takes;
  readonly canClose: boolean;
  /** Why the conversation of before is not there any more; null when it is, or there was none. */
  readonly lost: string | null;
  readonly facts: AgentFactsTold;
  /** What it offers to those whom it does not know. */
  readonly logins: Logins;
}

type Logins = ReadInitializeResponse["authMethods"];

/** @throws TurnFailure agent_unavailable, with words that say what to do; AcpError where the process ended or nobody waits */
export async function open(peer: JsonRpcPeer, opening: Opening): Promise<Opened> {
  const can = await introduced(peer, opening);
  const { promptCapabilities, sessionCapabilities, loadSession } = can.agentCapabilities;
  const takes = { images: promptCapabilities.image, embedded: promptCapabilities.embeddedContext };
  const found = { takes, canClose: sessionCapabilities.close, logins: can.authMethods };
  let lost: string | null = null;
  const { conversation } = opening;
  if (conversation !== null) {
    const ways = [...(sessionCapabilities.resume ? (["resumed"] as const) : []), ...(loadSession ? (["loaded"] as const) : [])];
    lost = "it has no way to take up a conversation";
    for (const how of ways) {
      const taken = await takenUp(peer, { ...opening, conversation, how, logins: can.authMethods });
      if (typeof taken === "string") lost = taken;
      else return { ...found, id: conversation, how, lost: null, facts: factsOf(taken, opening.limits) };
    }
  }
  const params: AcpNewSessionRequest = { cwd: opening.workdir, mcpServers: [] };
  const answer = await asked(peer, "session/new", params, { ...opening, logins: can.authMethods, waitMs: opening.limits.agent_start_wait_ms });
  const made = await understood(() => mustReadAcp(newSessionResponse, answer), opening);
  if (made.sessionId.length > opening.limits.agent_text_chars_max) throw unavailable(opening, "its name for the conversation is too long");
  return { ...found, id: made.sessionId, how: "new", lost, facts: factsOf(made, opening.limits) };
}

async function introduced(peer: JsonRpcPeer, opening: Opening): Promise<ReadInitializeResponse> {
  const params: AcpInitializeRequest = {
    protocolVersion: acpVersion,
    clientCapabilities: { fs: { readTextFile: false, writeTextFile: false }, terminal: false, session: { configOptions: { boolean: {} } } },
    clientInfo: { name: "sessiond", version },
  };
  const answer = await asked(peer, "initialize", params, { ...opening, logins: [], waitMs: opening.limits.agent_start_wait_ms });
  const can = await understood(() => mustReadAcp(initializeResponse, answer), opening);
  if (can.protocolVersion !== acpVersion)
    throw unavailable(opening, `it speaks version ${can.protocolVersion} of the protocol, and sessiond ${acpVersion}; update the older one`);
  return can;
}

/** @returns why not, in words: then it is tried in another way */
async function takenUp(
  peer: JsonRpcPeer,
  opening: Opening & { conversation: string; how: "resumed" | "loaded"; logins: Logins },
): Promise<ReadLoadSessionResponse | string> {
  const { workdir, conversation, limits, how, hide } = opening;
  const params: AcpLoadSessionRequest = { sessionId: conversation, cwd: workdir, mcpServers: [] };
  try {
    const answer = await asked(peer, how === "resumed" ? "session/resume" : "session/load", params, {
      ...opening,
      waitMs: limits.agent_load_wait_ms,
      mayRefuse: true,
    });
    return mustReadAcp(how === "resumed" ? resumeSessionResponse : loadSessionResponse, answer);
  } catch (error) {
    if (!isAcpError(error) || isGone(error)) throw error;
    return `it refused to take the conversation up: ${wordsOfError(error, hide)}`;
  }
}

interface Ask extends Opening {
  readonly logins: Logins;
  readonly waitMs: number;
  /** Whatever it refuses with but a missing login is passed on. */
  readonly mayRefuse?: boolean;
}

async function asked(peer: JsonRpcPeer, method: string, params: unknown, ask: Ask): Promise<unknown> {
  try {
    return await peer.request(method, params, { signal: ask.signal, timeoutMs: ask.waitMs });
  } catch (error) {
    if (!isAcpError(error) || isGone(error)) throw error;
    if (error.code === acpErrors.auth_required) throw loginNeeded(error, ask);
    if (ask.mayRefuse === true) throw error;
    if (error.code === acpErrors.timed_out) throw unavailable(ask, `it did not answer ${method} within ${ask.waitMs} ms (limit agent_start_wait_ms)`);
    throw unavailable(ask, `it refused ${method}: ${wordsOfError(error, ask.hide)}`);
  }
}

async function understood<T>(read: () => T, opening: Opening): Promise<T> {
  try {
    return read();
  } catch (error) {
    throw unavailable(opening, `its answer is not understood: ${wordsOfError(error, opening.hide)}`);
  }
}

/** The process has gone, or nobody waits any more. */
const isGone = (error: unknown): boolean => isAcpError(error, acpErrors.connection_closed) || isAcpError(error, acpErrors.request_cancelled);

const unavailable = ({ entry }: Pick<Opening, "entry">, why: string): TurnFailure =>
  new TurnFailure("agent_unavailable", `The agent ${entry.name} cannot run: ${why}.`);

const loginsTold = 8;

/** In the agent's own words, and what to do: sessiond logs in nowhere. */
export function loginNeeded(error: unknown, { entry, hide, logins }: Pick<Opening, "entry" | "hide"> & Pick<Opened, "logins">): TurnFailure {
  const ways = logins.slice(0, loginsTold).map(({ name, description }) => quoted(description === undefined ? name : `${name} (${description})`, hide));
  const offers = ways.length === 0 ? "" : ` It offers: ${ways.join("; ")}.`;
  const todo = entry.login === undefined ? `log in once with the agent's own program, in a terminal` : `${entry.login}, once and in a terminal`;
  const keys = "or give it its key under [agents.env] in config.toml";
  return new TurnFailure(
    "agent_unavailable",
    `The agent ${entry.name} wants to know who you are: ${wordsOfError(error, hide)}.${offers} To go on, ${todo}, ${keys}; then send the prompt again.`,
  );
}

/** What is not told is not there: an agent may have been updated since. */
function factsOf({ modes, configOptions }: ReadLoadSessionResponse, limits: Limits): AgentFactsTold {
  const all = modes === undefined ? [] : modesOf(modes.availableModes, limits);
  const mode = all.some(({ id }) => id === modes?.currentModeId) ? (modes?.currentModeId ?? null) : null;
  return { mode, modes: all, options: optionsOf(configOptions ?? [], limits) };
}

import { emptyState, limits, reduce, type Became, type EventOf, type Frame, type SessionState } from "@sessiond/shared";

/**
 * What verbs decide on: the public state, and what only the daemon remembers, folded from the
 * same frames. Immutable, so that "shown" is an earlier one of these and a rollback is an assignment.
 */
export interface KnownPrompt {
  readonly digest: string;
  readonly seq: number;
  readonly became: Became;
  readonly turnId?: string;
  /** How it ended, in a word; absent while it is queued. */
  readonly outcome?: string;
}

export interface ApprovalOutcome {
  readonly outcome: string;
  readonly option_id?: string;
  readonly by_seat_id?: string;
}

export interface Decided {
  readonly state: SessionState;
  readonly prompts: ReadonlyMap<string, KnownPrompt>;
  readonly outcomes: ReadonlyMap<string, ApprovalOutcome>;
  /** Seq of the last frame of each life that is over, the newest ones. */
  readonly ends: ReadonlyMap<number, number>;
}

export const nothingDecided = (sessionId: string): Decided => ({ state: emptyState(sessionId), prompts: new Map(), outcomes: new Map(), ends: new Map() });

export function decide(decided: Decided, frame: Frame): Decided {
  return {
    state: reduce(decided.state, frame),
    prompts: foldPrompts(decided.prompts, frame),
    outcomes: foldOutcomes(decided.outcomes, frame),
    ends: frame.event.type === "session_stopped" ? remember(decided.ends, frame.event.life, frame.seq, limits.lives_remembered) : decided.ends,
  };
}

function foldPrompts(known: Decided["prompts"], { event, seq }: Frame): Decided["prompts"] {
  switch (event.type) {
    case "prompt_accepted":
      // One that still waits is not forgotten: a repeat of it would run twice.
      return remember(known, event.prompt_id, { digest: event.digest, seq, became: event.became }, limits.prompt_ids_remembered, isEnded);
    case "prompt_delivered":
      return amend(known, event.prompt_id, (prompt) => ({ ...prompt, outcome: "delivered", ...(prompt.became === "started" && { turnId: event.turn_id }) }));
    case "prompt_withdrawn":
      return amend(known, event.prompt_id, (prompt) => ({ ...prompt, outcome: "withdrawn" }));
    case "prompt_discarded":
      return amend(known, event.prompt_id, (prompt) => ({ ...prompt, outcome: `discarded (${event.cause})` }));
    default:
      return known;
  }
}

function amend(known: Decided["prompts"], promptId: string, change: (prompt: KnownPrompt) => KnownPrompt): Decided["prompts"] {
  const prompt = known.get(promptId);
  return prompt === undefined ? known : new Map(known).set(promptId, change(prompt));
}

function foldOutcomes(outcomes: Decided["outcomes"], { event }: Frame): Decided["outcomes"] {
  if (event.type !== "approval_resolved") return outcomes;
  return remember(outcomes, event.approval_id, outcomeOf(event), limits.approval_outcomes_remembered);
}

function outcomeOf(event: EventOf<"approval_resolved">): ApprovalOutcome {
  if (event.cause === "withdrawn") return { outcome: "withdrawn by the agent" };
  if (event.cause !== "answer") return { outcome: `closed by ${event.cause}` };
  return {
    outcome: `answered with ${event.option_id ?? "?"} by ${event.by?.label ?? "?"}`,
    ...(event.option_id !== undefined && { option_id: event.option_id }),
    ...(event.by?.seat_id !== undefined && { by_seat_id: event.by.seat_id }),
  };
}

const isEnded = (prompt: KnownPrompt): boolean => prompt.outcome !== undefined;

/** Adds at the end; beyond `max` the oldest that may go goes. A Map keeps the order of insertion. */
function remember<K, V>(map: ReadonlyMap<K, V>, key: K, value: V, max: number, mayGo: (value: V) => boolean = () => true): ReadonlyMap<K, V> {
  const next = new Map(map).set(key, value);
  for (const [oldest, kept] of next) {
    if (next.size <= max) break;
    if (mayGo(kept)) next.delete(oldest);
  }
  return next;
}

import { schemas } from "@sessiond/shared";
import { nothingDecided, type Decided } from "./decided.ts";

/**
 * `Decided` as JSON, at the head of a journal's segment. A map becomes the list of its entries, in
 * their order, which is the order in which they are forgotten. What another build wrote and this
 * one does not know as it is, is no snapshot: then the frames are folded instead.
 */
export interface Snapshot extends Readonly<Record<string, unknown>> {
  /** When the newest frame was made. */
  readonly at: number;
}

export const snapshotOf = (decided: Decided, at: number): Snapshot => ({
  at,
  ...Object.fromEntries(Object.entries(decided).map(([name, value]) => [name, value instanceof Map ? [...value] : value])),
});

const isEntry = (value: unknown): value is [unknown, unknown] => Array.isArray(value) && value.length === 2;

/** @returns null when it is not one of this session as of frame `seq` */
export function fromSnapshot(snapshot: unknown, { sessionId, seq }: { sessionId: string; seq: number }): { decided: Decided; at: number } | null {
  if (typeof snapshot !== "object" || snapshot === null || !("at" in snapshot) || typeof snapshot.at !== "number") return null;
  const nothing = nothingDecided(sessionId);
  const { at, ...parts } = snapshot;
  if (Object.keys(parts).toSorted().join() !== Object.keys(nothing).toSorted().join()) return null;
  const decided: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(parts)) {
    const empty = nothing[name as keyof Decided];
    if (!(empty instanceof Map)) decided[name] = value;
    else if (Array.isArray(value) && value.every(isEntry)) decided[name] = new Map(value);
    else return null;
  }
  const state = schemas.sessionState.safeParse(decided["state"]);
  if (!state.success || state.data.session_id !== sessionId || state.data.seq !== seq) return null;
  // As it was written: the schema has judged it, and must not put it into another shape.
  return { decided: decided as unknown as Decided, at };
}

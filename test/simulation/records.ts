import type { TokenRecord } from "@sessiond/shared";
import type { JournalView } from "./journal-view.ts";
import type { SeatClient } from "./seat-client.ts";
import type { SessionModel } from "./session-model.ts";

/** What the world remembers of sessions, tokens and prompts, beside what their frames say. */
export interface SimToken {
  readonly secret: string;
  readonly record: TokenRecord;
  /** `maybe`: it was asked for, and nobody knows what became of it. */
  ended: "no" | "maybe" | "yes";
}

export interface SimPrompt {
  readonly id: string;
  text: string;
  /** What the first answer said; undefined while nobody knows. */
  answer: { readonly seq: number; readonly became: string } | undefined;
}

export interface SimSession {
  readonly id: string;
  readonly workdir: string;
  readonly stable: boolean;
  readonly requestId: string | undefined;
  readonly view: JournalView;
  model: SessionModel;
  readonly tokens: SimToken[];
  readonly seats: Map<string, SeatClient>;
  readonly prompts: Map<string, SimPrompt>;
  /** Lives of which somebody was told that it began them. */
  readonly created: Set<number>;
  /** A stop was asked for: its life may end in any step. */
  stopAsked: boolean;
  /** When a seat's connection was lost, a request or a clock began, by running time. */
  readonly since: Map<string, number>;
  /** Since when it can write, by running time. */
  writableSince: number;
  /** It could not write when it was looked at last. */
  faulted: boolean;
  /** How many epochs its journal had then. */
  epochs: number;
  /** How many losses of power the model knows of. */
  losses: number;
  gone: boolean;
}

/**
 * What the bench needs of each of the three: a home of its own, a server in it, sessions, and viewers of them. A
 * `Talk` is held by the client that drives; viewers live in another process and find the session by its `Door`.
 */
export type PeerName = "sessiond" | "opencode" | "codex";

export interface Peer {
  readonly name: PeerName;
  readonly version: string;
  /** As a person would type it. */
  readonly command: string;
  /** A new home, whose server asks the model at this base URL. */
  home(model: string): PeerHome;
}

export interface PeerHome {
  /** A server, spawned; resolves at its first answer. One at a time. */
  start(): Promise<Served>;
  /** Removes the home; its server has been ended. */
  remove(): Promise<void>;
}

export interface Served {
  readonly pid: number;
  /** From its spawning to its first answer, ms. */
  readonly startMs: number;
  /** A session that is ready for its first prompt and whose events come here. */
  create(): Promise<Talk>;
  end(): Promise<void>;
}

export interface Talk {
  readonly door: Door;
  /** Resolves when this client has been told that the turn is over. */
  prompt(text: string): Promise<unknown>;
  /** The next question whether a tool may run. Asked for before the prompt that brings it. */
  question(): Promise<Question>;
}

export interface Question {
  /** Once, yes. Resolves when the answer was acknowledged. */
  allow(): Promise<unknown>;
}

/** How a viewer's process finds a session; only the peer that made it reads it. */
export interface Door {
  readonly peer: PeerName;
  readonly at: string;
  readonly session: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Adds viewers, each over a connection of its own; resolves when all of them watch. @returns what ends them */
export type Watch = (door: Door, viewers: readonly ((text: string) => void)[]) => Promise<() => void>;

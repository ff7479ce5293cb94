import type { Auth, ServedItem, SessiondError } from "@sessiond/shared";
import type { CallOptions } from "./call-limit.ts";
import type { Connection } from "./connection.ts";
import type { StreamConnection } from "./kept-stream.ts";
import { ServedStream } from "./served-stream.ts";
import { RunningTurn, type ServedEvent, type TurnToRun } from "./turn-to-run.ts";

/** An agent that a program offers to a daemon, by `host.serveAgent`. */
export interface ServedAgent {
  /** It takes prompts into a running turn (`takeSteering`). */
  readonly steer?: boolean | undefined;
  /** It takes pictures; prompts with one are refused otherwise. */
  readonly images?: boolean | undefined;
  /** For sessions whose starter names none. */
  readonly defaultModel?: string | undefined;
  /** Those that there are; any name will do unless given. */
  readonly models?: readonly string[] | undefined;
  /**
   * Runs one turn, beside those of other sessions. The next event is asked for when there is room for it; behind
   * `tool_call_update` with `in_progress`, when that is on disk, so that nobody wonders after a crash whether a tool ran.
   * Where it returns the turn has ended with `end_turn`, where it throws with `failed` and the error's message.
   */
  prompt(turn: TurnToRun): AsyncIterable<ServedEvent>;
}

export interface ServeParts {
  readonly calls: Connection;
  readonly auth: Auth;
}

/**
 * An agent as it is served: there for the daemon's sessions until this is closed or the process ends. A lost link, a
 * restart of the daemon and a rotated host key are survived: the offer is made again. The turns of before are not: the
 * session says that its agent has gone, and here their signals have aborted.
 */
export class Served {
  readonly name: string;
  /** Resolves when it is over: null after `close`, else the reason. Never rejects. */
  readonly ended: Promise<SessiondError | null>;
  readonly #parts: ServeParts;
  readonly #agent: ServedAgent;
  readonly #stream: ServedStream;
  readonly #turns = new Map<string, RunningTurn>();
  #servingId = "";

  private constructor(parts: ServeParts, name: string, agent: ServedAgent) {
    const { steer, images, defaultModel: default_model, models } = agent;
    const { calls, auth } = parts;
    this.name = name;
    this.#parts = parts;
    this.#agent = agent;
    this.#stream = new ServedStream(calls.door, auth, { agent: name, steer, images, default_model, models: models && [...models] });
    this.ended = this.#stream.over;
    const close = (): void => this.close();
    calls.closed.addEventListener("abort", close, { once: true });
    this.#stream.watch({
      item: (item) => this.#take(item),
      changed: () => this.connection !== "live" && this.#loseAll(),
      ended: () => calls.closed.removeEventListener("abort", close),
    });
    if (calls.closed.aborted) this.close();
  }

  /** The library's own; from outside: `host.serveAgent`. */
  static async open(parts: ServeParts, name: string, agent: ServedAgent, options: CallOptions): Promise<Served> {
    const served = new Served(parts, name, agent);
    await served.#stream.open(options);
    return served;
  }

  get connection(): StreamConnection {
    return this.#stream.connection;
  }

  /** How many turns run. */
  get turns(): number {
    return this.#turns.size;
  }

  /** Calls back when `connection` changes, and a turn comes. @returns what ends it */
  onChange(listener: () => void): () => void {
    return this.#stream.watch({ changed: listener });
  }

  /** Never fails. Turns that run end as `failed`, and their signals abort. */
  close(): void {
    this.#stream.close();
    this.#loseAll();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  #take(item: ServedItem): void {
    switch (item.type) {
      case "serving":
        this.#loseAll();
        this.#servingId = item.serving_id;
        return;
      case "turn":
        return void this.#run(new RunningTurn(item, { ...this.#parts, servingId: this.#servingId }));
      case "answer":
        return this.#turns.get(item.turn_id)?.answered(item);
      case "chosen":
        return this.#turns.get(item.turn_id)?.chosen(item);
      case "cancel":
        return this.#turns.get(item.turn_id)?.cancel();
    }
  }

  async #run(turn: RunningTurn): Promise<void> {
    this.#turns.set(turn.turnId, turn);
    await turn.run((given) => this.#agent.prompt(given));
    this.#turns.delete(turn.turnId);
  }

  #loseAll(): void {
    for (const turn of this.#turns.values()) turn.lose();
    this.#turns.clear();
  }
}

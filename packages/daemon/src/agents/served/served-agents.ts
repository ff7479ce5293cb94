import { SessiondError, type Limits, type ServedItem, type VerbOutput, type VerbParsed } from "@sessiond/shared";
import { mintId } from "../../ids.ts";
import { hashSecret } from "../../keys.ts";
import type { AgentKind } from "../agent.ts";
import { servedKind } from "./kind.ts";
import { Serving, type Offer, type Taker } from "./serving.ts";

/**
 * Programs that offer themselves as agents: one a name, and none under a name that the daemon has otherwise. What a
 * program says counts by the id that its stream was given; of that only the hash is kept.
 */
export interface ServedAgentsOptions {
  /** All agents that there are; those that are served come and go in it. */
  readonly kinds: Map<string, AgentKind>;
  readonly limits: Pick<Limits, "served_agents_max" | "served_waiting_chars_max">;
}

export class ServedAgents {
  readonly #options: ServedAgentsOptions;
  readonly #byName = new Map<string, Serving>();
  readonly #byHash = new Map<string, Serving>();

  constructor(options: ServedAgentsOptions) {
    this.#options = options;
  }

  /** The agent is there from the first item on, until the stream ends. @throws SessiondError conflict, limit_reached, slow_consumer */
  async *serve(offer: Offer, taker: Taker): AsyncGenerator<ServedItem> {
    if (taker.signal.reason instanceof SessiondError) throw taker.signal.reason;
    const servingId = mintId("srv");
    const serving = this.#begin(offer, hashSecret(servingId));
    try {
      serving.tell({ type: "serving", serving_id: servingId });
      yield* serving.items(taker);
    } finally {
      serving.end(null);
    }
  }

  /** @throws SessiondError not_found, conflict */
  said({ serving_id, turn_id, ...call }: VerbParsed<"agent_event">): Promise<VerbOutput<"agent_event">> {
    const serving = this.#byHash.get(hashSecret(serving_id));
    if (serving === undefined) throw new SessiondError("not_found", { what: "offer of an agent: its stream has ended" });
    const turn = serving.turns.get(turn_id);
    if (turn === undefined) throw new SessiondError("not_found", { what: "turn: it has ended, or is another program's" });
    return turn.take(call);
  }

  /** The daemon goes. */
  end(error: SessiondError): void {
    for (const serving of [...this.#byName.values()]) serving.end(error);
  }

  #begin(offer: Offer, hash: string): Serving {
    const { kinds, limits } = this.#options;
    const { agent: name } = offer;
    if (this.#byName.has(name)) throw new SessiondError("conflict", { reason: `another program serves the agent ${name}` });
    if (kinds.has(name)) throw new SessiondError("conflict", { reason: `${name} is the name of an agent that this daemon has itself` });
    if (this.#byName.size >= limits.served_agents_max)
      throw new SessiondError("limit_reached", { limit: "served_agents_max", value: limits.served_agents_max, unit: "served agents" });
    const onEnd = (): void => {
      kinds.delete(name);
      this.#byName.delete(name);
      this.#byHash.delete(hash);
    };
    const serving = new Serving(offer, { limits, onEnd });
    this.#byName.set(name, serving);
    this.#byHash.set(hash, serving);
    kinds.set(
      name,
      servedKind(offer, () => this.#byName.get(name)),
    );
    return serving;
  }
}

import { setTimeout as pause } from "node:timers/promises";
import type { Limits } from "@sessiond/shared";

/** What an agent says of a conversation of before while it takes that up: the journal has it, so it is heard and dropped. */
export class Replay {
  readonly #limits: Limits;
  #heard = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  heard(): void {
    this.#heard += 1;
  }

  /** Resolves when no more of it comes, which may be after the agent has said that the conversation is there; or when nobody waits any more. */
  async over(signal: AbortSignal): Promise<void> {
    const until = performance.now() + this.#limits.agent_load_wait_ms;
    for (let before = -1; before !== this.#heard && performance.now() < until && !signal.aborted;) {
      before = this.#heard;
      await pause(this.#limits.agent_replay_quiet_ms);
    }
  }
}

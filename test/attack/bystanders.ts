import type { DriverSeat } from "@sessiond/client";
import { SeenFrames } from "../support/seen-frames.ts";
import type { Stage } from "./stage.ts";

/** Somebody at work, and somebody who watches it, on a session that nobody attacks. */
export class Bystanders {
  turns = 0;
  readonly #stage: Stage;
  readonly #driver: DriverSeat;
  readonly #viewer: SeenFrames;
  #working = true;
  readonly #work: Promise<void>;

  private constructor(stage: Stage, driver: DriverSeat, viewer: SeenFrames) {
    this.#stage = stage;
    this.#driver = driver;
    this.#viewer = viewer;
    this.#work = this.#prompt();
    // Told of by `check`.
    this.#work.catch(() => undefined);
  }

  static async sit(stage: Stage): Promise<Bystanders> {
    const session = await stage.host.sessionForWorkdir(stage.workdir, { model: "practice" });
    const watching = await stage.connect({ autoStart: false });
    const viewer = await (await watching.sessionForWorkdir(stage.workdir)).attach({ as: "viewer", label: "bystander" });
    return new Bystanders(stage, await session.attach({ as: "driver" }), new SeenFrames(viewer));
  }

  /** Ends the work. @throws unless the viewer has seen each event of the journal exactly once, in its order */
  async check(): Promise<number> {
    this.#working = false;
    await this.#work;
    const { sessionId, state } = this.#driver;
    await this.#viewer.until(({ seq }) => seq >= state.seq);
    this.#viewer.check();
    const lines = this.#stage.journal(sessionId).filter(({ seq }) => this.#viewer.texts.has(seq));
    const seen = [...this.#viewer.texts.keys()];
    if (seen.length !== new Set(seen).size || lines.length !== seen.length || lines.some(({ seq, text }) => this.#viewer.texts.get(seq) !== text))
      throw new Error(`the viewer saw ${seen.length} events, the journal has ${lines.length} of them`);
    return seen.length;
  }

  /** One small answer after the other, each within the patience of a person. */
  async #prompt(): Promise<void> {
    while (this.#working) {
      await this.#driver.prompt("stream 20 every 10");
      this.turns += 1;
    }
  }
}

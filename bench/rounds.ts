import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { withRig, type Rig } from "./rig.ts";
import type { How } from "./row.ts";
import { SideProcess } from "./side-process.ts";
import type { Outcome, Question, Round } from "./viewers.ts";

/**
 * One turn before so many viewers, on either side. Each round has fresh viewers, and of sessiond a fresh session: what
 * was said before is part of a session's next question to the model, and the relay remembers nothing.
 */
export class Rounds {
  readonly #rig: Rig;
  /** A process a side, so that one's garbage is not the other's. */
  readonly #ours: SideProcess<object>;
  readonly #theirs: SideProcess<object>;
  #count = 0;

  private constructor(rig: Rig, ours: SideProcess<object>, theirs: SideProcess<object>) {
    this.#rig = rig;
    this.#ours = ours;
    this.#theirs = theirs;
  }

  static async during<T>(how: How, work: (rounds: Rounds) => Promise<T>): Promise<T> {
    return withRig(how, async (rig) => {
      const [ours, theirs] = [await SideProcess.start<object>(how.dir, "viewers"), await SideProcess.start<object>(how.dir, "viewers")];
      try {
        return await work(new Rounds(rig, ours, theirs));
      } finally {
        await Promise.all([ours.end(), theirs.end()]);
      }
    });
  }

  async sessiond(round: Round, prompt: string): Promise<Outcome> {
    const { host, home } = this.#rig;
    const workdir = join(home.workdir, String(++this.#count));
    mkdirSync(workdir);
    const session = await host.startSession({ workdir });
    try {
      return await this.#play(this.#ours, { open: "sessiond", token: session.token, env: home.env, ...round }, prompt);
    } finally {
      await session.stop();
      await session.close();
    }
  }

  limit(round: Round, prompt: string): Promise<Outcome> {
    return this.#play(this.#theirs, { open: "limit", socket: this.#rig.limit, ...round }, prompt);
  }

  async #play(side: SideProcess<object>, open: Question, prompt: string): Promise<Outcome> {
    await side.ask<null>(open);
    try {
      return await side.ask<Outcome>({ prompt } satisfies Question);
    } finally {
      await side.ask<null>({ close: true } satisfies Question);
    }
  }
}

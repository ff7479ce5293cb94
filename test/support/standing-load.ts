import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { DriverSeat, Host } from "@sessiond/client";
import { expect } from "vitest";
import { briefOf } from "./brief.ts";
import type { DaemonHome } from "./daemon-home.ts";
import { JournalReading } from "./journal-reading.ts";
import { SeenFrames } from "./seen-frames.ts";

/**
 * What goes on beside the session that a daemon is killed under: one session whose question is open all the time, and one
 * that runs a tool all the time, with a prompt waiting behind it. Both outlive every kill, each in its own way.
 */
const work = "run echo begun >> worked; sleep 600";

export class StandingLoad {
  readonly logs: readonly { readonly seen: SeenFrames; readonly journal: JournalReading }[];
  readonly #home: DaemonHome;
  readonly #asker: DriverSeat;
  readonly #worker: DriverSeat;
  readonly #question: string;
  #finished = false;

  private constructor(home: DaemonHome, asker: DriverSeat, worker: DriverSeat) {
    this.#home = home;
    this.#asker = asker;
    this.#worker = worker;
    this.#question = asker.state.approvals[0]?.approval_id ?? "";
    this.logs = [asker, worker].map((seat) => ({
      seen: new SeenFrames(seat, briefOf),
      journal: new JournalReading(join(home.stateDir, "sessions", seat.sessionId), seat.sessionId),
    }));
  }

  static async open(home: DaemonHome, host: Host): Promise<StandingLoad> {
    const drive = async () => (await host.startSession({ workdir: home.workdir, model: "practice" })).attach({ as: "driver" });
    const [asker, worker] = [await drive(), await drive()];
    const asked = (seat: DriverSeat) => until(seat, () => seat.state.approvals.length > 0);
    await asker.sendPrompt("run echo asked >> asked");
    await asked(asker);
    await worker.sendPrompt(work);
    await asked(worker);
    const [question] = worker.state.approvals;
    if (question !== undefined) await worker.approve(question, { kind: "allow_session" });
    await until(worker, () => worker.state.status === "tool_executing");
    await worker.sendPrompt("say the one that waited");
    return new StandingLoad(home, asker, worker);
  }

  get sessionIds(): string[] {
    return [this.#asker.sessionId, this.#worker.sessionId];
  }

  /** After a start: the tool runs again, because it was asked for anew, and the prompt waits behind it again. */
  async again(): Promise<void> {
    const worker = this.#worker;
    await until(worker, () => worker.state.turn === null && worker.state.queue.every(({ held }) => held));
    await worker.sendPrompt(work);
    await worker.releaseQueue();
    await until(worker, () => worker.state.status === "tool_executing");
  }

  check(): void {
    if (this.#finished) return;
    expect(this.#asker.state.approvals.map((open) => open.approval_id)).toEqual([this.#question]);
    expect(this.#worker.state.queue).toHaveLength(1);
    // Begun by a call that was told so, and never by itself: at most one line a call.
    const begun = this.logs[1]?.journal.callsBegun ?? 0;
    expect(this.#lines("worked").length).toBeLessThanOrEqual(begun);
    expect(this.#lines("asked")).toEqual([]);
  }

  /** The question is answered and its tool runs, once; the prompt that waited is delivered, once. */
  async finish(): Promise<void> {
    this.#finished = true;
    const [question] = this.#asker.state.approvals;
    if (question !== undefined) await this.#asker.approve(question, { kind: "allow_once" });
    await until(this.#asker, () => this.#asker.state.turn === null);
    await this.#worker.interrupt();
    await this.#worker.releaseQueue();
    await until(this.#worker, () => this.#worker.state.turn === null && this.#worker.state.queue.length === 0);
    for (const { journal } of this.logs) expect(journal.read().openPrompts).toEqual([]);
    expect(this.#lines("asked")).toEqual(["asked"]);
  }

  #lines(name: string): string[] {
    const path = join(this.#home.workdir, name);
    return existsSync(path) ? readFileSync(path, "utf8").trimEnd().split("\n") : [];
  }
}

async function until(seat: DriverSeat, holds: () => boolean): Promise<void> {
  while (!holds()) await seat.changed();
}

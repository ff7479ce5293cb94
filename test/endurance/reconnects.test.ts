import { createHash } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { DriverSeat } from "@sessiond/client";
import { amount } from "../support/amount.ts";
import { CutLine } from "../support/cut-line.ts";
import { endure, expectTidy, fillWindows, growthLine } from "../support/growth.ts";
import { MeasuredHome } from "../support/measured-home.ts";
import { SeenFrames } from "../support/seen-frames.ts";

/** The link is cut while the model speaks, over and over: everybody comes back by himself, and has every word once. */
const reconnects = amount(5, 200, "SESSIOND_RECONNECTS");
const words = 300;
const said = Array.from({ length: words }, (_, n) => `${n + 1} `).join("");

const sha256 = (texts: readonly string[]): string => {
  const hash = createHash("sha256");
  for (const text of texts) hash.update(`${text}\n`);
  return hash.digest("hex");
};

/** What a seat's reader was given, as one digest: kept as texts it would be what grows. */
class Given {
  frames = 0;
  readonly #seen: SeenFrames;
  readonly #hash = createHash("sha256");

  constructor(seen: SeenFrames) {
    this.#seen = seen;
  }

  /** @throws when a frame was missing or doubled */
  take(): void {
    this.#seen.check();
    this.frames += this.#seen.texts.size;
    for (const text of this.#seen.texts.values()) this.#hash.update(`${text}\n`);
    this.#seen.texts.clear();
  }

  digest(): string {
    return this.#hash.digest("hex");
  }
}

let home: MeasuredHome;
let line: CutLine;
beforeEach(async () => {
  home = new MeasuredHome();
  line = await CutLine.open(home);
});
afterEach(async () => {
  await line.close();
  await home.close();
});

/** Resolves when this many more frames have come to the seat, or the turn is over. */
async function heard(seat: DriverSeat, frames: number): Promise<void> {
  const from = seat.state.seq;
  while (seat.state.seq < from + frames && seat.state.turn !== null) await seat.changed();
}

test(
  `B15 B21 B31 ${reconnects} cuts in the middle of turns: nothing is lost or doubled for driver and viewer, and nothing is left of the links`,
  { timeout: 600_000 },
  async () => {
    const owner = await home.begin();
    const session = await owner.sessionForWorkdir(home.workdir);
    const atRest = await home.openAtRest(owner);
    const [holder] = await fillWindows(owner, [session]);
    const host = await home.connect({ env: line.env, autoStart: false });
    const far = await host.openSession(session.id);
    const driver = await far.attach({ as: "driver" });
    const viewer = await far.attach({ as: "viewer" });
    // Both begin at the same frame: the viewer's own has come to the driver.
    while (driver.state.seq < viewer.state.seq) await driver.changed();
    const seen = [driver, viewer].map((seat) => new SeenFrames(seat));
    const given = seen.map((each) => new Given(each));
    const first = driver.state.seq + 1;
    let turns = 0;
    const work = async (from: number, to: number): Promise<void> => {
      for (let cuts = from; cuts < to;) {
        turns++;
        const begun = seen.map((each) => each.next((event) => event.type === "turn_started"));
        const ended = seen.map((each) => each.next((event) => event.type === "turn_ended"));
        const turn = driver.prompt(`stream ${words} every 2`);
        await Promise.all(begun);
        for (let n = 0; n < 4 && cuts < to; n++) {
          await heard(driver, 20);
          if (driver.state.turn === null) break;
          const back = seen.map((each) => each.back());
          line.cut();
          await Promise.all(back);
          cuts++;
        }
        expect((await turn).stopReason).toBe("end_turn");
        await Promise.all(ended);
        for (const each of given) each.take();
      }
    };
    await work(0, 4);
    const begun = performance.now();
    // A turn leaves its messages, until the conversation is as long as a state may be.
    const endured = await endure(home, { operations: reconnects, work, allowed: { daemonObjects: 12, clientObjects: 12 } });
    const seconds = (performance.now() - begun) / 1_000;

    // What both were given is what the journal has, text for text, and what the model said is whole in it.
    for (const each of given) each.take();
    const lines = home.journal(session.id).filter(({ seq }) => seq >= first);
    expect(lines.length).toBeGreaterThan(turns * words);
    const digest = sha256(lines.map(({ text }) => text));
    expect(given.map((each) => [each.frames, each.digest()])).toEqual(given.map(() => [lines.length, digest]));
    const spoken = driver.state.messages.filter(({ type }) => type === "agent").map(({ text }) => text === said);
    expect(spoken.slice(-turns)).toEqual(Array.from({ length: turns }, () => true));

    for (const seat of [driver, viewer, holder]) await seat?.detach();
    await host.close();
    expect(await home.openAtRest(owner)).toEqual(atRest);
    expectTidy(home);
    console.log(
      `B15 B31 endurance: ${endured.operations} cuts in ${turns} turns in ${seconds.toFixed(1)} s, ${lines.length} frames to each seat; ${growthLine(endured)}`,
    );
  },
);

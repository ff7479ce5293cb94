import { setTimeout as pause } from "node:timers/promises";
import { expect } from "vitest";
import type { Chance } from "./chance.ts";
import { eventually } from "./eventually.ts";
import type { HaltPoint } from "./halt.ts";
import type { KilledSession } from "./killed-session.ts";

/**
 * The instants in which a daemon is killed, each reached for certain: where the instant is between two operations on a
 * file, the daemon ends itself there (halt.ts), or stands still there, is looked at, and is then killed from outside.
 */
export const phases = [
  "idle",
  "streaming",
  "before the write",
  "half written",
  "written",
  "before the sync",
  "synced",
  "tool running",
  "question open",
  "file replaced",
  "compacting",
  "starting up",
  "at random",
] as const;
export type Phase = (typeof phases)[number];

type Instant = Omit<HaltPoint, "act">;

export class Killer {
  readonly #session: KilledSession;
  readonly #chance: Chance;
  readonly #turns = new Map<Phase, number>();

  constructor(session: KilledSession, chance: Chance) {
    this.#session = session;
    this.#chance = chance;
  }

  /** Kill the daemon in that phase; each time the next of the phase's instants. @returns the phases of the kills that it took */
  async kill(phase: Phase): Promise<Phase[]> {
    const turn = this.#turns.get(phase) ?? 0;
    this.#turns.set(phase, turn + 1);
    const act = turn % 2 === 0 ? "hold" : "kill";
    switch (phase) {
      case "before the write":
        await this.#writing({ when: "before", nth: 1 + (turn % 4), act });
        break;
      case "half written":
        await this.#writing({ when: "half", nth: 1 + (turn % 4), act: "kill" });
        break;
      case "written":
        await this.#writing({ when: "after", nth: 1 + (turn % 4), act });
        break;
      case "before the sync":
        await (turn % 4 < 2 ? this.#syncing(act) : this.#syncingAnAnswer(act));
        break;
      case "synced":
        await (turn % 4 < 2 ? this.#synced() : this.#syncedAnAnswer());
        break;
      case "file replaced":
        await this.#halted({ ...at(turn, this.#replacing()), act: "kill" }, () => this.#session.mint());
        break;
      case "compacting":
        await this.#halted({ ...at(turn, this.#compacting()), act }, () => this.#fill());
        break;
      case "starting up":
        return this.#starting(at(turn, this.#startingPoints()));
      default:
        await this.#bringTo(phase);
        await this.#session.home.kill(await this.#session.home.daemon());
    }
    return [phase];
  }

  // --- From outside, while something goes on ----------------------------------------------------------

  async #bringTo(phase: Phase): Promise<void> {
    const session = this.#session;
    const [driver] = session.seen;
    if (driver === undefined) return;
    switch (phase) {
      case "streaming": {
        const chunk = driver.next((event) => event.type === "agent_message_chunk");
        session.prompt("stream 5000 every 2");
        await chunk;
        return this.#delay(30);
      }
      case "question open":
        await session.ask();
        return this.#delay(10);
      case "tool running": {
        const word = await session.ask("; sleep 60");
        session.answer();
        // Until it has run its first word, whether it did is open.
        await eventually("the command runs", () => session.ranWords().includes(word));
        return;
      }
      case "at random":
        session.prompt(this.#chance.upTo(2) < 1 ? "stream 20 every 3" : "say one then think two then say three");
        void session.note();
        session.mint();
        return this.#delay(80);
      default:
        return this.#delay(10);
    }
  }

  #delay(mostMs: number): Promise<void> {
    return pause(this.#chance.upTo(mostMs));
  }

  // --- At one operation ---------------------------------------------------------------------------------

  /** @param looked  what must be true while the daemon stands still there */
  async #halted(point: HaltPoint, begin: () => unknown, looked: () => unknown = () => undefined): Promise<void> {
    const { home, halt } = this.#session;
    const pid = await home.daemon();
    halt.arm(point);
    const begun = begin();
    await halt.reached(() => !home.isAlive(pid), "the daemon went before it came to the operation");
    if (point.act === "hold") {
      await this.#session.lookAround();
      await looked();
      await home.kill(pid);
    }
    await home.gone(pid);
    await begun;
  }

  #journal(op: "write" | "datasync"): Pick<Instant, "op" | "path"> {
    return { op, path: new RegExp(`/${this.#session.sessionId}/journal(-\\d+)?$`) };
  }

  /** One of the writes of a turn. Nobody may have been shown what the write did not give back. */
  #writing({ when, nth, act }: Pick<HaltPoint, "when" | "act"> & { nth: number }): Promise<void> {
    const session = this.#session;
    let promptId = "";
    return this.#halted(
      { ...this.#journal("write"), when, nth, act },
      () => (promptId = session.prompt("stream 8 every 3")),
      () => {
        const { state, accepted } = session.journal.read();
        for (const { seat } of session.seen) expect(seat.state.seq).toBeLessThanOrEqual(state.seq);
        // The very write that holds the prompt: it was neither shown nor acknowledged.
        if (nth > 1) return;
        expect(session.openPrompts.has(promptId)).toBe(true);
        for (const { seat } of session.seen) expect(seat.state.seq).toBeLessThan(accepted.get(promptId) ?? Infinity);
      },
    );
  }

  /** The prompt is written, everybody sees it, and its sync has been asked for: it is not acknowledged. */
  #syncing(act: "kill" | "hold"): Promise<void> {
    const session = this.#session;
    let promptId = "";
    return this.#halted(
      { ...this.#journal("datasync"), when: "before", act },
      () => (promptId = session.prompt("say one")),
      async () => {
        await eventually("everybody sees the prompt", () => {
          const seq = session.journal.read().accepted.get(promptId) ?? Infinity;
          return session.seen.every(({ seat }) => seat.state.seq >= seq);
        });
        await session.lookAround();
        expect(session.openPrompts.has(promptId)).toBe(true);
      },
    );
  }

  /** The same for an answer; and the tool that it allowed has not begun. */
  async #syncingAnAnswer(act: "kill" | "hold"): Promise<void> {
    const session = this.#session;
    const word = await session.ask();
    session.mayNotRun(word);
    await this.#halted(
      { ...this.#journal("datasync"), when: "before", act },
      () => session.answer(),
      () => expect(session.ranWords()).not.toContain(word),
    );
    expect(session.ranWords()).not.toContain(word);
  }

  async #synced(): Promise<void> {
    const session = this.#session;
    let promptId = "";
    await this.#halted({ ...this.#journal("datasync"), when: "after", act: "kill" }, () => (promptId = session.prompt("say one")));
    expect(session.journal.read().accepted.has(promptId)).toBe(true);
  }

  async #syncedAnAnswer(): Promise<void> {
    const word = await this.#session.ask();
    this.#session.mayNotRun(word);
    await this.#halted({ ...this.#journal("datasync"), when: "after", act: "kill" }, () => this.#session.answer());
  }

  #replacing(): Instant[] {
    const temporary = new RegExp(`/${this.#session.sessionId}/\\.session\\.json\\.`);
    return [
      { op: "writeFile", path: temporary, when: "before" },
      { op: "sync", path: temporary, when: "before" },
      { op: "sync", path: temporary, when: "after" },
      { op: "rename", path: temporary, when: "before" },
      { op: "rename", path: temporary, when: "after" },
      { op: "sync", path: new RegExp(`/${this.#session.sessionId}$`), when: "after" },
    ];
  }

  /** The next segment is made, and what is left of the oldest that is as it was takes its place. */
  #compacting(): Instant[] {
    const directory = new RegExp(`/${this.#session.sessionId}$`);
    const segment = new RegExp(`/${this.#session.sessionId}/journal-\\d+$`);
    const compact = new RegExp(`/${this.#session.sessionId}/journal(-\\d+)?\\.compact$`);
    const begins = '{"after":';
    return [
      { op: "rename", path: compact, when: "before" },
      { op: "truncate", path: segment, when: "before" },
      { op: "write", path: compact, begins, when: "half" },
      { op: "write", path: segment, begins, when: "half" },
      { op: "rename", path: compact, when: "after" },
      { op: "write", path: segment, begins, when: "after" },
      { op: "datasync", path: compact, when: "before" },
      { op: "sync", path: directory, when: "before" },
      { op: "open", path: compact, when: "after" },
      { op: "sync", path: directory, when: "after" },
      { op: "datasync", path: compact, when: "after" },
      { op: "write", path: compact, when: "after" },
    ];
  }

  async #fill(): Promise<void> {
    const { halt, home } = this.#session;
    // Four segments at most: at the first time there is none that is old enough.
    for (let notes = 0; notes < 1_200 && !halt.hit && home.daemons().length > 0; notes += 32)
      await Promise.race([Promise.all(Array.from({ length: 32 }, () => this.#session.note())), eventually("the daemon stands still", () => halt.hit)]);
  }

  // --- While a daemon starts ----------------------------------------------------------------------------

  /** Not in the order of a start: the first few are to be as different as can be. */
  #startingPoints(): Instant[] {
    const [write, datasync] = [this.#journal("write"), this.#journal("datasync")];
    return [
      { ...datasync, when: "before" },
      { op: "readFile", path: /\/registry\.json$/, when: "before" },
      { op: "rename", path: /\/\.new$/, when: "before" },
      { ...write, op: "read", when: "after", nth: 2 },
      { ...write, begins: '{"epoch":', when: "half" },
      { ...write, begins: '{"seq":', when: "before" },
      { op: "mkdir", path: /\/state\/sessiond$/, when: "before" },
      { ...write, begins: '{"epoch":', when: "before" },
      { ...write, begins: '{"seq":', when: "half" },
      { op: "readdir", path: /\/open$/, when: "after" },
      { ...write, begins: '{"epoch":', when: "after" },
      { ...datasync, when: "after" },
      { op: "rename", path: /\/open\/\./, when: "before" },
      { ...write, begins: '{"seq":', when: "after" },
      { op: "rename", path: /\/\.new$/, when: "after" },
    ];
  }

  /** The daemon is killed at work, and the one that comes after it while it takes up what that left. */
  async #starting(instant: Instant): Promise<Phase[]> {
    const session = this.#session;
    const before = at(this.#turns.get("starting up") ?? 0, ["streaming", "question open", "idle", "at random"] as const);
    const pid = await session.home.daemon();
    await this.#bringTo(before);
    await session.home.kill(pid, () => session.halt.arm({ ...instant, act: "kill" }));
    await session.halt.reached();
    // The epoch's record is on disk before anything follows it.
    if (instant.op === "datasync") expect(session.journal.read().state.seq).toBe(session.journal.diedAt.seq);
    return [before, "starting up"];
  }
}

const at = <T>(turn: number, row: readonly T[]): T => row[turn % row.length] as T;

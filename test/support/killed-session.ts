import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { newPromptId, SessiondError, type DriverSeat, type Host } from "@sessiond/client";
import { expect } from "vitest";
import { briefOf } from "./brief.ts";
import type { DaemonHome } from "./daemon-home.ts";
import { eventually } from "./eventually.ts";
import type { Halt } from "./halt.ts";
import { JournalReading } from "./journal-reading.ts";
import { SeenFrames } from "./seen-frames.ts";
import { StandingLoad } from "./standing-load.ts";
import { expectTidy } from "./tidy-folder.ts";

/**
 * One busy session whose daemon is killed over and over: its driver, two viewers, what they call, and what must be true
 * of all that they were told. How the daemon is brought to the instant in which it dies is in kill-phases.ts.
 */
interface Acknowledged {
  readonly seq: number;
  readonly type: "prompt_accepted" | "approval_resolved" | "system_message";
  readonly id: string;
}

export class KilledSession {
  readonly home: DaemonHome;
  readonly halt: Halt;
  readonly driver: DriverSeat;
  readonly journal: JournalReading;
  /** The driver's first. */
  readonly seen: readonly SeenFrames[];
  /** Prompts sent and not yet acknowledged. */
  readonly openPrompts = new Set<string>();
  readonly #hosts: readonly Host[];
  readonly #load: StandingLoad;
  readonly #acknowledged: Acknowledged[] = [];
  /** Tokens whose minting was acknowledged, by id; ended as soon as they were seen to be there. */
  readonly #minted = new Set<string>();
  /** Calls under way: each has to be answered in the end, whatever happens to the daemon. */
  readonly #open = new Set<Promise<void>>();
  /** Questions that were answered, whether the answer has come back or not. */
  readonly #answered = new Set<string>();
  /** The newest that all clients were on together. */
  readonly #epochs = new Map<JournalReading, number>();
  #compared = 0;
  #acknowledgedBefore = 0;
  /** Each allowed command writes a word of its own. */
  #words = 0;
  /** Those whose answer was cut off: whether they run is open, but not twice. */
  readonly #uncertain = new Set<string>();
  #tokensKept = 0;

  private constructor(
    home: DaemonHome,
    halt: Halt,
    { hosts, driver, seen, load }: { hosts: Host[]; driver: DriverSeat; seen: SeenFrames[]; load: StandingLoad },
  ) {
    this.home = home;
    this.halt = halt;
    this.driver = driver;
    this.seen = seen;
    this.#hosts = hosts;
    this.#load = load;
    this.journal = new JournalReading(join(home.stateDir, "sessions", driver.sessionId), driver.sessionId);
  }

  static async open(home: DaemonHome, halt: Halt): Promise<KilledSession> {
    const host = await home.connect({ clientName: "driver" });
    const driver = await (await host.sessionForWorkdir(home.workdir, { model: "practice" })).attach({ as: "driver" });
    // Who of many starts the next daemon is told by start.test.ts; here it is the driver's client, and the others find it.
    const others = await Promise.all(["first viewer", "second viewer"].map((clientName) => home.connect({ clientName, autoStart: false })));
    const viewers = await Promise.all(others.map(async (other) => (await other.openSession(driver.sessionId, { right: "view" })).attach({ as: "viewer" })));
    const load = await StandingLoad.open(home, host);
    const seen = [driver, ...viewers].map((seat) => new SeenFrames(seat, briefOf));
    const session = new KilledSession(home, halt, { hosts: [host, ...others], driver, seen, load });
    await session.backAgain();
    return session;
  }

  get sessionId(): string {
    return this.driver.sessionId;
  }

  // --- Calls ------------------------------------------------------------------------------------------

  /** @returns its id; the acknowledgement is awaited by `settle` */
  prompt(text: string): string {
    const promptId = newPromptId();
    this.openPrompts.add(promptId);
    this.#under(async () => {
      const { seq } = await this.driver.sendPrompt(text, { promptId });
      this.openPrompts.delete(promptId);
      this.#acknowledged.push({ seq, type: "prompt_accepted", id: promptId });
    });
    return promptId;
  }

  /** Ask for a command; resolves when the question is open. @returns the word that the command writes */
  async ask(and = ""): Promise<string> {
    const word = `w${++this.#words}`;
    const asked = this.seen[0]?.next((event) => event.type === "approval_requested");
    this.prompt(`run echo ${word} >> ran${and}`);
    await asked;
    return word;
  }

  /** Allow what is asked, once. */
  answer(): void {
    // An answer's reply may come before its frame, on another connection: what was answered is not asked about again.
    const question = this.driver.state.approvals.find((open) => !this.#answered.has(open.approval_id));
    if (question === undefined) return;
    this.#answered.add(question.approval_id);
    this.#under(async () => {
      const { seq } = await this.driver.approve(question, { kind: "allow_once" });
      this.#acknowledged.push({ seq, type: "approval_resolved", id: question.approval_id });
    });
  }

  /** A note of 16,000 characters; of one whose link is lost the caller is told that it may have happened. */
  async note(): Promise<void> {
    try {
      const { seq } = await this.driver.addSystemMessage("long ".repeat(3_200));
      this.#acknowledged.push({ seq, type: "system_message", id: "" });
    } catch (error) {
      if (!(error instanceof SessiondError && error.code === "daemon_unreachable")) throw error;
    }
  }

  /** A further token: the session's file is replaced. */
  mint(): void {
    this.#under(async () => {
      try {
        const { record } = await this.#hosts[0]!.session(this.sessionId).mintToken({ right: "view", label: "spare" });
        this.#minted.add(record.token_id);
      } catch (error) {
        if (!(error instanceof SessiondError && error.code === "daemon_unreachable")) throw error;
      }
    });
  }

  /** What was written to every socket before now has been read when this resolves. */
  async lookAround(): Promise<void> {
    for (let times = 0; times < 2; times++) await Promise.all(this.#hosts.map((host) => host.status()));
  }

  /** The daemon dies while the answer is on its way: the command may be ended unrun. */
  mayNotRun(word: string): void {
    this.#uncertain.add(word);
  }

  ranWords(): string[] {
    const path = join(this.home.workdir, "ran");
    return existsSync(path) ? readFileSync(path, "utf8").trimEnd().split("\n") : [];
  }

  // --- Between two kills ------------------------------------------------------------------------------

  /** Resolves when every client is there again by itself, on the newest epoch of its session. */
  async backAgain(): Promise<void> {
    const logs = [...this.seen.map((seen) => ({ seen, journal: this.journal })), ...this.#load.logs];
    await eventually("all clients are back", () =>
      logs.every(({ seen, journal }) => {
        if (seen.seat.connection === "ended") throw new Error(`a seat of ${seen.seat.sessionId} ended`);
        const epoch = Number(seen.seat.cursor.split(":")[0]);
        return seen.seat.connection === "live" && epoch > (this.#epochs.get(journal) ?? 0) && epoch === journal.read().epoch;
      }),
    );
    for (const { journal } of logs) this.#epochs.set(journal, journal.epoch);
  }

  /** After a start: answer, release and wait until nothing is left to do in this session, and the load is as before. */
  async settle(): Promise<void> {
    await Promise.all([this.#settleSession(), this.#load.again(), this.#spareTokens()]);
  }

  /** What clients were told, against the journal; nothing ran twice; nothing lies about. */
  async check(): Promise<void> {
    const { lines, accepted, resolved, state } = this.journal.read();
    for (const seen of this.seen) {
      seen.check();
      for (let seq = this.#compared + 1; seq <= seen.seat.state.seq; seq++) {
        const text = seen.texts.get(seq);
        if (text !== undefined) expect(text).toBe(lines.get(seq)?.brief ?? "(not in the journal)");
      }
    }
    this.#compared = Math.min(state.seq, ...this.seen.map(({ seat }) => seat.state.seq));
    for (const { seq, type, id } of this.#acknowledged.slice(this.#acknowledgedBefore)) {
      expect([seq, lines.get(type === "approval_resolved" ? (resolved.get(id) ?? 0) : seq)?.type]).toEqual([seq, type]);
      if (type === "prompt_accepted") expect(accepted.get(id)).toBe(seq);
    }
    this.#acknowledgedBefore = this.#acknowledged.length;
    for (const { seen, journal } of this.#load.logs) {
      seen.check();
      journal.read();
    }
    this.#load.check();
    const ran = this.ranWords();
    expect(new Set(ran).size).toBe(ran.length);
    expect(this.halt.unsynced).toEqual([]);
    await expectTidy(this.home, [this.sessionId, ...this.#load.sessionIds]);
  }

  /** The session takes another prompt and ends it, all of it is seen, and all that was ever begun has ended; the load too. */
  async goOn(): Promise<void> {
    await this.#settleSession();
    const turn = await this.driver.prompt("say still here");
    expect(turn).toMatchObject({ stopReason: "end_turn", text: "still here" });
    await this.#load.finish();
    const head = this.driver.state.seq;
    for (const { seat } of this.seen) while (seat.state.seq < head) await seat.changed();
    expect(this.journal.read().openPrompts).toEqual([]);
    expect(this.journal.state).toMatchObject({ turn: null, approvals: [], queue: [] });
    const words = Array.from({ length: this.#words }, (_, n) => `w${n + 1}`);
    expect(words.filter((word) => !this.ranWords().includes(word) && !this.#uncertain.has(word))).toEqual([]);
  }

  told(): string {
    const frames = this.seen.map(({ texts }) => texts.size).join(" + ");
    const compacted = this.journal.checkCompacted();
    return `${this.#acknowledged.length} verbs acknowledged, ${this.#tokensKept} tokens kept, ${frames} frames seen, ${this.journal.cuts} torn lines cut, ${compacted} segments compacted, journal at ${this.journal.state.seq}`;
  }

  #under(call: () => Promise<void>): void {
    const open = call();
    this.#open.add(open);
    // A failure is met where all are awaited.
    void open.then(() => this.#open.delete(open)).catch(() => undefined);
  }

  async #settleSession(): Promise<void> {
    const seat = this.driver;
    for (;;) {
      await Promise.all(this.#open);
      const before = seat.state;
      const changed = seat.changed();
      const { turn, queue, approvals } = before;
      if (turn === null && queue.length === 0) return;
      if (approvals.some((open) => !this.#answered.has(open.approval_id))) this.answer();
      else if (turn === null && queue.every(({ held }) => held)) await seat.releaseQueue();
      await Promise.all(this.#open);
      if (seat.state === before) await Promise.race([changed, pause(1_000)]);
    }
  }

  /** Those whose minting was acknowledged are all there; none is needed any longer. */
  async #spareTokens(): Promise<void> {
    await Promise.all(this.#open);
    const session = this.#hosts[0]!.session(this.sessionId);
    if (this.#minted.size === 0) return;
    const spare = (await session.listTokens()).filter(({ label }) => label === "spare").map((record) => record.token_id);
    expect(spare).toEqual(expect.arrayContaining([...this.#minted]));
    this.#tokensKept += this.#minted.size;
    this.#minted.clear();
    for (const tokenId of spare) await session.revokeToken(tokenId);
  }
}

import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { emptyState, reduce, type Frame, type SessionState } from "@sessiond/shared";
import { newPromptId, type DriverSeat, type Host } from "@sessiond/client";
import { expect } from "vitest";
import type { Chance } from "./chance.ts";
import type { DaemonHome } from "./daemon-home.ts";
import { SeenFrames } from "./seen-frames.ts";

/**
 * One busy session whose daemon is killed over and over, with everything that its three clients were told.
 *
 * In which phase a kill fell is read off afterwards, not taken from what was aimed at: `sync under way` when
 * the journal held and a client had seen a prompt that was not yet acknowledged, `write under way` when the
 * journal held frames that nobody had been shown, else the state that the journal had reached.
 */
export const phases = ["idle", "streaming", "tool running", "question open", "write under way", "sync under way"] as const;
export type Phase = (typeof phases)[number];

const byStatus = { idle: "idle", error: "idle", thinking: "streaming", tool_executing: "tool running", awaiting_approval: "question open" } as const;

/** What was read of the journal so far; what clients saw up to `compared` has been held against it. */
interface Reading {
  readonly offset: number;
  readonly state: SessionState;
  /** The state with which each epoch ended. */
  readonly epochEnds: SessionState[];
  readonly lines: Map<number, string>;
  /** Where a prompt was accepted. */
  readonly accepted: Map<string, number>;
  /** Where a question was closed. */
  readonly resolved: Map<string, number>;
  compared: number;
}

const nothingRead = (sessionId: string): Reading => ({
  offset: 0,
  state: emptyState(sessionId),
  epochEnds: [],
  lines: new Map(),
  accepted: new Map(),
  resolved: new Map(),
  compared: 0,
});

interface Acknowledged {
  readonly seq: number;
  readonly type: "prompt_accepted" | "approval_resolved";
  readonly id: string;
}

export class KilledSession {
  readonly #home: DaemonHome;
  readonly #chance: Chance;
  readonly #host: Host;
  readonly #driver: DriverSeat;
  /** The driver's first. */
  readonly #seen: readonly SeenFrames[];
  readonly #acknowledged: Acknowledged[] = [];
  /** Calls that were under way when the daemon was killed; each has to be answered in the end. */
  #open = new Set<Promise<void>>();
  /** Questions that were answered, whether the answer has come back or not. */
  readonly #answered = new Set<string>();
  readonly #openPrompts = new Set<string>();
  #openAtKills = 0;
  /** Each allowed command writes a word of its own. */
  #words = 0;
  #journal: Reading;
  #back: Promise<unknown> = Promise.resolve();

  private constructor(home: DaemonHome, chance: Chance, host: Host, seats: readonly [DriverSeat, ...SeenFrames["seat"][]]) {
    this.#home = home;
    this.#chance = chance;
    this.#host = host;
    this.#driver = seats[0];
    this.#seen = seats.map((seat) => new SeenFrames(seat));
    this.#journal = nothingRead(this.#driver.sessionId);
  }

  static async open(home: DaemonHome, chance: Chance): Promise<KilledSession> {
    const host = await home.connect({ clientName: "driver" });
    const driver = await (await host.sessionForWorkdir(home.workdir, { model: "practice" })).attach({ as: "driver" });
    const viewers = await Promise.all(
      ["first viewer", "second viewer"].map(async (clientName) => {
        const other = await home.connect({ clientName });
        return (await other.openSession(driver.sessionId, { right: "view" })).attach({ as: "viewer" });
      }),
    );
    return new KilledSession(home, chance, host, [driver, ...viewers]);
  }

  /** Brings the session near a phase, kills the daemon there. @returns the phase it was in */
  async killIn(aim: Phase): Promise<Phase> {
    await this.#settle();
    const pid = await this.#home.daemon();
    await this.#bringTo(aim);
    this.#back = Promise.all(this.#seen.map((seen) => seen.back()));
    const open = [...this.#openPrompts];
    this.#openAtKills += open.length;
    await this.#home.kill(pid);
    await this.backAgain();
    this.#readJournal();
    return this.#phaseAtDeath(open);
  }

  /** Resolves when all three clients are there again, by themselves, and every call that was under way is answered. */
  async backAgain(): Promise<void> {
    await this.#back;
    await Promise.all(this.#open);
  }

  /** The session takes another prompt and ends it, and all three clients see all of it. */
  async goOn(): Promise<void> {
    await this.#settle();
    const turn = await this.#driver.prompt("say still here");
    expect(turn).toMatchObject({ stopReason: "end_turn", text: "still here" });
    const head = this.#driver.state.seq;
    for (const { seat } of this.#seen) while (seat.state.seq < head) await seat.changed();
    // Once more from the beginning: nothing of before may have changed.
    this.#journal = nothingRead(this.#driver.sessionId);
    this.check();
    const ran = this.#ranWords();
    expect(ran.toSorted()).toEqual(Array.from({ length: this.#words }, (_, n) => `w${n + 1}`).toSorted());
  }

  /** What clients were told, against the journal; and no command has run twice. */
  check(): void {
    this.#readJournal();
    const { lines, compared, state } = this.#journal;
    for (const seen of this.#seen) {
      seen.check();
      for (const [seq, text] of seen.texts) if (seq > compared) expect(text).toBe(lines.get(seq) ?? "(not in the journal)");
    }
    this.#journal.compared = Math.min(state.seq, ...this.#seen.map(({ seat }) => seat.state.seq));
    for (const { seq, type, id } of this.#acknowledged) {
      // A repeat that found its answer given cannot tell the answer's own seq.
      const at = type === "prompt_accepted" ? this.#journal.accepted.get(id) : this.#journal.resolved.get(id);
      if (type === "prompt_accepted") expect(at).toBe(seq);
      else expect(at).toBeDefined();
    }
    const ran = this.#ranWords();
    expect(new Set(ran).size).toBe(ran.length);
  }

  told(): string {
    const frames = this.#seen.map(({ texts }) => texts.size).join(" + ");
    return `${this.#acknowledged.length} verbs acknowledged, ${this.#openAtKills} prompts under way at a kill, ${frames} frames seen, journal at ${this.#journal.state.seq}`;
  }

  async close(): Promise<void> {
    await Promise.race([this.#host.close(), pause(3_000)]);
  }

  // --- Getting there ---------------------------------------------------------------------------------

  async #bringTo(aim: Phase): Promise<void> {
    const [driver] = this.#seen;
    if (driver === undefined) return;
    const chunk = () => driver.next((event) => event.type === "agent_message_chunk");
    switch (aim) {
      case "idle":
        return this.#delay(20);
      case "streaming": {
        const streaming = chunk();
        this.#prompt("stream 5000 every 2");
        await streaming;
        return this.#delay(40);
      }
      case "write under way": {
        const streaming = chunk();
        this.#prompt("stream 4000");
        await streaming;
        await this.#delay(30);
        return this.#journalGrows();
      }
      case "question open": {
        await this.#ask(`run echo ${this.#word()} >> ran`);
        return this.#delay(20);
      }
      case "tool running": {
        const word = this.#word();
        await this.#ask(`run echo ${word} >> ran; sleep 60`);
        const running = driver.next((event) => event.type === "tool_call_chunk" || (event.type === "tool_call_update" && event.status === "in_progress"));
        this.#answer();
        await running;
        // Until it has run its first word, whether it did is open.
        while (!this.#ranWords().includes(word)) await pause(2);
        return this.#delay(20);
      }
      case "sync under way": {
        await this.#delay(10);
        const shown = Promise.race(this.#seen.map((seen) => seen.next((event) => event.type === "prompt_accepted")));
        this.#prompt("say one");
        await shown;
        return;
      }
    }
  }

  /** Returns in the instant in which the file has become longer: nothing is polled between that and the kill. */
  #journalGrows(): void {
    const path = this.#home.journalPath(this.#driver.sessionId);
    const until = performance.now() + 500;
    for (const { size } = statSync(path); statSync(path).size === size && performance.now() < until;);
  }

  #phaseAtDeath(open: readonly string[]): Phase {
    const died = this.#journal.epochEnds.at(-1) ?? this.#journal.state;
    const shown = Math.max(...this.#seen.map(({ lostAt }) => lostAt));
    const unanswered = open.map((promptId) => this.#journal.accepted.get(promptId) ?? Infinity);
    if (unanswered.some((seq) => seq <= Math.min(shown, died.seq))) return "sync under way";
    return died.seq > shown ? "write under way" : byStatus[died.status];
  }

  #delay(mostMs: number): Promise<void> {
    return pause(this.#chance.upTo(mostMs));
  }

  #word(): string {
    return `w${++this.#words}`;
  }

  #ranWords(): string[] {
    try {
      return readFileSync(join(this.#home.workdir, "ran"), "utf8").trimEnd().split("\n");
    } catch {
      return [];
    }
  }

  async #ask(prompt: string): Promise<void> {
    const asked = this.#seen[0]?.next((event) => event.type === "approval_requested");
    this.#prompt(prompt);
    await asked;
  }

  // --- Calls ------------------------------------------------------------------------------------------

  #prompt(text: string): void {
    const promptId = newPromptId();
    this.#openPrompts.add(promptId);
    this.#under(async () => {
      const { seq } = await this.#driver.sendPrompt(text, { promptId });
      this.#openPrompts.delete(promptId);
      this.#acknowledged.push({ seq, type: "prompt_accepted", id: promptId });
    });
  }

  #answer(): void {
    // An answer's reply may come before its frame, on another connection: what was answered is not asked about again.
    const question = this.#driver.state.approvals.find((open) => !this.#answered.has(open.approval_id));
    if (question === undefined) return;
    this.#answered.add(question.approval_id);
    this.#under(async () => {
      const { seq } = await this.#driver.approve(question, { kind: "allow_once" });
      this.#acknowledged.push({ seq, type: "approval_resolved", id: question.approval_id });
    });
  }

  #under(call: () => Promise<void>): void {
    const open = call();
    this.#open.add(open);
    // A failure is met where all are awaited.
    void open.then(() => this.#open.delete(open)).catch(() => undefined);
  }

  /** Answer, release and wait until nothing is left to do. */
  async #settle(): Promise<void> {
    const seat = this.#driver;
    for (;;) {
      await Promise.all(this.#open);
      const before = seat.state;
      const changed = seat.changed();
      const { turn, queue, approvals } = before;
      if (turn === null && queue.length === 0) return;
      if (approvals.some((open) => !this.#answered.has(open.approval_id))) this.#answer();
      else if (turn === null && queue.every(({ held }) => held)) await seat.releaseQueue();
      await Promise.all(this.#open);
      if (seat.state === before) await changed;
    }
  }

  // --- The journal ---------------------------------------------------------------------------------------

  /** Reads on where the last reading ended. */
  #readJournal(): void {
    const text = this.#home.journalText(this.#driver.sessionId);
    const end = text.lastIndexOf("\n") + 1;
    const { offset, epochEnds, lines, accepted, resolved } = this.#journal;
    let { state } = this.#journal;
    for (const line of text.slice(offset, end).split("\n").slice(0, -1)) {
      const value = JSON.parse(line) as Partial<Frame> & { epoch?: number };
      if (value.epoch !== undefined) {
        expect(value).toMatchObject({ epoch: epochEnds.length + 1, after: state.seq });
        epochEnds.push(state);
        continue;
      }
      expect(value.seq).toBe(state.seq + 1);
      state = reduce(state, value as Frame);
      lines.set(state.seq, line);
      if (value.event?.type === "approval_resolved") {
        expect(resolved.has(value.event.approval_id)).toBe(false);
        resolved.set(value.event.approval_id, state.seq);
      }
      if (value.event?.type !== "prompt_accepted") continue;
      // Sent again by the library after a kill, it is still accepted once.
      expect(accepted.has(value.event.prompt_id)).toBe(false);
      accepted.set(value.event.prompt_id, state.seq);
    }
    this.#journal = { ...this.#journal, offset: end, state };
  }
}

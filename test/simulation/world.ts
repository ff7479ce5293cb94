import { SessiondError, wordsOf, type ContentPart, type Limits } from "@sessiond/shared";
import { seededChance, type Chance } from "../support/chance.ts";
import { Boot, simLimits } from "./boot.ts";
import { Faults } from "./faults.ts";
import { JournalView } from "./journal-view.ts";
import { deleted, observe } from "./observe.ts";
import { Platter } from "./platter.ts";
import type { SimSession, SimToken } from "./records.ts";
import { Scheduler, turn } from "./scheduler.ts";
import type { SeatClient } from "./seat-client.ts";
import { SessionModel } from "./session-model.ts";
import { SimKind, type AgentWorld, type SimTurn } from "./sim-agent.ts";
import { MachineTime, SimClock } from "./sim-clock.ts";
import { SimDisk } from "./sim-disk.ts";
import { holds, Violation } from "./violation.ts";

/**
 * The simulated machine: a disk, a clock, one run of the daemon after another, agents, and clients
 * with what they know. It moves only when a step moves it.
 */
export interface SimAgents {
  readonly kinds: readonly SimKind[];
}

interface PendingCall {
  readonly verb: string;
  readonly boot: Boot;
}

export class World implements AgentWorld {
  readonly limits: Limits = simLimits;
  readonly platter = new Platter();
  readonly scheduler = new Scheduler();
  readonly time = new MachineTime();
  readonly faults: Faults;
  readonly hits: Map<string, number>;
  readonly sessions: SimSession[] = [];
  readonly calls = new Set<PendingCall>();
  /** What happened, for a failure's report. */
  readonly told: string[] = [];
  chance: Chance = seededChance(1);
  boot!: Boot;
  hostKey = "";
  bootedAt = 0;
  draining = false;
  violation: Error | null = null;
  readonly toolRuns = new Map<string, number>();
  readonly promptTexts = new Map<string, string>();
  #numbers = 0;
  #crashed = false;

  constructor(hits: Map<string, number>, faultHits: Map<string, number>) {
    this.hits = hits;
    this.faults = new Faults(faultHits);
    // The home of whoever owns the daemon has been there for long.
    this.platter.make("/sim/state");
    this.platter.root.sync();
    this.platter.directory("/sim").sync();
  }

  hit(name: string): void {
    this.hits.set(name, (this.hits.get(name) ?? 0) + 1);
  }

  number(): number {
    return ++this.#numbers;
  }

  pick<T>(among: readonly T[]): T | undefined {
    return among[Math.floor(this.chance.upTo(among.length))];
  }

  odds(share: number): boolean {
    return this.chance.upTo(1) < share;
  }

  /** Run a check; the first that fails ends the simulation. */
  guarded(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.violation ??= error as Error;
    }
  }

  mustHold(): void {
    if (this.violation !== null) throw this.violation;
  }

  // --- Runs of the daemon ----------------------------------------------------------------------

  async start(): Promise<void> {
    for (let tries = 0; ; tries++) {
      if (tries > 8) this.faults.heal();
      holds(tries < 20, "B38", () => "the daemon does not start");
      const outcome = await this.#tryStart();
      if (outcome === "up") break;
      this.told.push(`start: ${outcome}`);
    }
    await this.settle(400);
    observe(this);
  }

  async #tryStart(): Promise<string> {
    this.#crashed = false;
    this.faults.failed = false;
    this.draining = false;
    this.calls.clear();
    const clock = new SimClock(this.time);
    const disk = new SimDisk({
      platter: this.platter,
      scheduler: this.scheduler,
      faults: this.faults,
      chance: () => this.chance,
      written: (path) => this.guarded(() => this.sessions.find(({ id, gone }) => !gone && path.includes(id))?.view.refresh()),
      crash: (power) => this.crash(power),
    });
    const agents = { kinds: [new SimKind("park", this, { park: true, steer: true }), new SimKind("plain", this, { park: false, steer: false })] };
    let booted: Boot | null = null;
    let failure: unknown = null;
    let alive = true;
    const report = (error: unknown): void => {
      if (alive && (booted === null || booted.alive)) this.#reported(error);
    };
    this.#ending = () => {
      alive = false;
      disk.end();
      clock.stop();
    };
    Boot.start({ disk, clock, agents, report }).then(
      (boot) => (booted = boot),
      (error: unknown) => (failure = error ?? new Error("?")),
    );
    for (let ops = 0; booted === null && failure === null && !this.#crashed && ops < 2_000; ops++) {
      if (!this.scheduler.one(this.chance)) await turn();
      await turn();
    }
    if (this.#crashed) return "crashed";
    if (failure !== null) {
      alive = false;
      disk.end();
      clock.stop();
      this.scheduler.stop(this.chance);
      const known = failure instanceof SessiondError || (failure as { code?: string }).code === "EIO" || (failure as { code?: string }).code === "ENOSPC";
      holds(known && this.faults.failed, "B38", () => `the daemon does not start: ${String((failure as Error).stack)}`);
      return `failed: ${(failure as Error).message}`;
    }
    holds(booted !== null, "B38", () => "the daemon hangs while it starts");
    this.boot = booted;
    this.bootedAt = this.time.running;
    this.hostKey = this.platter.file("/sim/state/host-key")?.bytes.toString("utf8").trim() ?? "";
    return "up";
  }

  #ending: () => void = () => undefined;

  /** Killed, or the power goes; in the step of an operation, or between two. */
  crash(power: boolean): void {
    if (this.#crashed) return;
    this.#crashed = true;
    this.#ending();
    if ((this.boot as Boot | undefined)?.alive === true) this.boot.end();
    this.scheduler.stop(this.chance);
    if (power) this.platter.losePower(this.chance);
    this.guarded(() => {
      for (const session of this.sessions) {
        if ((this.boot as Boot | undefined)?.host.entry(session.id) === undefined) deleted(session);
        else session.view.refresh(power);
      }
    });
    this.told.push(power ? "the power goes" : "killed");
  }

  /** Draining, as `shut_down` does it; then the next run. */
  async restart(): Promise<void> {
    const { boot } = this;
    this.draining = true;
    boot.host.draining = true;
    let drained = false;
    void boot.host.drain(0).then(() => (drained = true));
    for (let rounds = 0; !drained && !this.#crashed; rounds++) {
      holds(rounds < 5_000, "B40", () => "draining does not end");
      if (this.scheduler.one(this.chance)) await turn();
      else {
        await turn();
        if (this.scheduler.pending.length === 0 && !drained) await this.#nextTimer();
      }
    }
    if (!this.#crashed) {
      observe(this);
      this.scheduler.stop(this.chance);
      boot.end();
      this.#ending();
      this.guarded(() => {
        for (const session of this.sessions) if (!session.gone) session.view.refresh();
      });
    }
    await this.start();
  }

  async #nextTimer(): Promise<void> {
    const { next } = this.boot.clock;
    if (Number.isFinite(next)) this.time.running = Math.max(this.time.running, next);
    this.boot.clock.fire();
    await turn();
  }

  /** Only what a failing disk explains may be reported. */
  #reported(error: unknown): void {
    if (error instanceof Error && error.message === "thrown by the simulated agent") return;
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    if (this.faults.failed && ["storage_failed", "EIO", "ENOSPC", "session_faulted"].includes(code)) return;
    this.violation ??= new Violation("B38", `a bug was reported: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  }

  // --- Time ------------------------------------------------------------------------------------

  /** Let so many operations of the disk come true. */
  async pump(count: number): Promise<void> {
    await turn();
    for (let index = 0; index < count; index++) {
      const any = this.scheduler.one(this.chance);
      this.time.running += 1;
      await turn();
      if (this.boot.alive) this.boot.clock.fire();
      await this.#afterCrash();
      this.mustHold();
      if (!any && this.scheduler.pending.length === 0) return;
    }
  }

  /** Until nothing is under way on the disk. */
  async settle(most = 600): Promise<void> {
    for (let quiet = 0, ops = 0; quiet < 2 && ops < most; ops++) {
      quiet = this.scheduler.one(this.chance) ? 0 : quiet + 1;
      await turn();
      await this.#afterCrash();
      this.mustHold();
    }
  }

  get quiet(): boolean {
    return this.scheduler.pending.length === 0;
  }

  /** Time passes; what falls due happens in its order, and the disk has time for everything. */
  async advance(ms: number): Promise<void> {
    const until = this.time.running + ms;
    await this.settle();
    observe(this);
    for (let fired = 0; fired < 2_000; fired++) {
      const { next } = this.boot.clock;
      if (next > until) break;
      this.time.running = Math.max(this.time.running, next);
      const { done } = this.scheduler;
      this.boot.clock.fire();
      await turn();
      if (this.scheduler.pending.length === 0 && this.scheduler.done === done) continue;
      await this.settle();
      observe(this);
      this.mustHold();
    }
    this.time.running = Math.max(this.time.running, until);
  }

  async #afterCrash(): Promise<void> {
    if (!this.#crashed || this.#restarting) return;
    this.mustHold();
    this.#restarting = true;
    try {
      await this.start();
    } finally {
      this.#restarting = false;
    }
  }

  #restarting = false;

  // --- Calls -----------------------------------------------------------------------------------

  /**
   * Call a verb. Nothing is waited for: an answer comes while other steps are taken, or never, where
   * the daemon is killed first.
   */
  call<T>(verb: string, input: object, auth: object, told: (outcome: { ok: T } | { code: string; error: Error }) => void): void {
    const { boot } = this;
    const pending: PendingCall = { verb, boot };
    this.calls.add(pending);
    const done = (outcome: { ok: T } | { code: string; error: Error }): void => {
      this.calls.delete(pending);
      if (!boot.alive || this.boot !== boot) return;
      this.guarded(() => told(outcome));
    };
    boot.call(verb, { ...input, auth }).then(
      (output) => done({ ok: output as T }),
      (error: unknown) => {
        const known = ((error as Error).cause ?? error) as Error;
        done({ code: known instanceof SessiondError ? known.code : "internal", error: known });
      },
    );
  }

  /** An answer named this frame: it and all before it must be safe, whatever happens next. */
  acknowledged(session: SimSession, seq: number, verb: string): void {
    if (seq === 0 || session.gone) return;
    holds(
      session.view.isDurable(seq),
      "B36",
      () => `${verb} was answered with frame ${seq}, which a loss of power would take; the journal has ${session.view.last}`,
    );
    session.view.acknowledged = Math.max(session.view.acknowledged, seq);
    session.view.settled = Math.max(session.view.settled, seq);
  }

  // --- What agents and streams tell --------------------------------------------------------------

  prompted(turnId: string, parts: readonly ContentPart[]): void {
    this.guarded(() => holds(!this.promptTexts.has(turnId), "B22", () => `turn ${turnId} is given to the agent a second time`));
    this.promptTexts.set(turnId, wordsOf(parts));
  }

  ran(callId: string, turnId: string): void {
    this.guarded(() => {
      const runs = (this.toolRuns.get(callId) ?? 0) + 1;
      this.toolRuns.set(callId, runs);
      holds(runs === 1, "B37", () => `call ${callId} of ${turnId} runs a second time`);
      for (const { view, gone } of this.sessions) if (!gone) view.refresh();
      const session = this.sessions.find(({ view }) => findStart(view, callId) > 0);
      const seq = session === undefined ? 0 : findStart(session.view, callId);
      holds(seq > 0 && session?.view.isDurable(seq) === true, "B37", () => `call ${callId} runs, and the frame that says so is not safe`);
    });
  }

  babbled(): void {
    this.faults.hit("agent_talks_after_cancel");
  }

  get turns(): SimTurn[] {
    return this.boot.agents.kinds.flatMap((kind) => [...kind.turns]);
  }

  /** A stream that had begun ended with an error. */
  streamEnded(seat: SeatClient, code: string): void {
    const explained: Record<string, boolean> = {
      token_ended: seat.token.ended !== "no" || this.expired(seat.token, seat.session),
      shutting_down: true,
      storage_failed: this.faults.failed,
      moved: true,
      slow_consumer: seat.stalled,
    };
    holds(explained[code] === true, "B33", () => `the stream of ${seat.name} ended with ${code}`);
  }

  newSession(made: Pick<SimSession, "id" | "workdir" | "stable" | "requestId">): SimSession {
    const session: SimSession = {
      ...made,
      view: new JournalView(this.platter, `/sim/state/sessions/${made.id}`),
      model: new SessionModel(),
      tokens: [],
      seats: new Map(),
      prompts: new Map(),
      created: new Set(),
      stopAsked: false,
      since: new Map(),
      writableSince: this.time.running,
      faulted: false,
      epochs: 0,
      losses: 0,
      gone: false,
    };
    this.sessions.push(session);
    return session;
  }

  /** By the wall clock, it or one that it descends from. Near the end nobody can say. */
  expired(token: SimToken, session: SimSession): boolean {
    const { expires_at, parent } = token.record;
    if (expires_at !== undefined && expires_at <= this.time.latest + 1_000) return true;
    const above = session.tokens.find(({ record }) => record.token_id === parent);
    return above !== undefined && (above.ended !== "no" || this.maybeIdle(above) || this.expired(above, session));
  }

  /** A start's token that nobody used for a day has ended, and what it minted with it, also what is used. When it was used last is not known here. */
  maybeIdle({ record }: SimToken): boolean {
    return record.origin === "start" && this.time.latest - record.created_at > this.limits.start_token_idle_ms - 3_600_000;
  }
}

function findStart(view: JournalView, callId: string): number {
  for (let seq = view.last; seq > Math.max(0, view.last - 400); seq--) {
    const text = view.text(seq);
    if (text?.includes(`"${callId}"`) === true && text.includes('"status":"in_progress"')) return seq;
  }
  return 0;
}

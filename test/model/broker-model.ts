import type { Policy, WhenBusy } from "@sessiond/shared";

/**
 * What a session with several clients has to look like, told as shortly as it can be: seats, wheel,
 * queue, questions, and when time ends something. It knows nothing of journals, streams or
 * promises, and shares no code with the daemon.
 */
const graceMs = 15_000;
export const requestMs = 30_000;
export const queueMax = 6;

export interface ModelSeat {
  readonly name: string;
  role: "driver" | "viewer";
  /** Null while connected; else when its grace ends. */
  goesAt: number | null;
}
export interface ModelPrompt {
  readonly id: string;
  text: string;
  readonly whenBusy: WhenBusy;
  held: boolean;
  /** Which turn ran when it came: that one alone it steers. */
  readonly cameIn: number;
}
export interface ModelQuestion {
  readonly call: string;
  readonly command: string;
  remaining: number | null;
  dueAt: number | null;
}

const order: readonly WhenBusy[] = ["interrupt", "steer", "queue"];

export class BrokerModel {
  now: number;
  readonly seats: ModelSeat[] = [];
  requests: { name: string; lapsesAt: number }[] = [];
  queue: ModelPrompt[] = [];
  questions: ModelQuestion[] = [];
  /** The prompt whose turn runs. */
  turn: string | null = null;
  turnsBegun = 0;
  readonly sent = new Map<string, string>();
  readonly ends = new Map<string, string>();
  allowed = new Map<string, "turn" | "session">();
  title: string | null = null;
  model = "script";
  policy: Policy = { type: "hold" };

  constructor(now: number) {
    this.now = now;
  }

  seat(name: string): ModelSeat | undefined {
    return this.seats.find((seat) => seat.name === name);
  }
  get driver(): ModelSeat | undefined {
    return this.seats.find((seat) => seat.role === "driver");
  }

  // Seats.
  sit(name: string, role: "driver" | "viewer"): void {
    this.seats.push({ name, role, goesAt: null });
    this.#clocks();
  }
  leave(name: string): void {
    const drove = this.seat(name)?.role === "driver";
    this.seats.splice(
      this.seats.findIndex((seat) => seat.name === name),
      1,
    );
    this.requests = this.requests.filter((request) => request.name !== name);
    if (drove) this.grant();
    this.#lapse();
    this.#clocks();
  }
  lose(name: string): void {
    const seat = this.seat(name);
    if (seat !== undefined) seat.goesAt = this.now + graceMs;
    this.#clocks();
  }
  resume(name: string): void {
    const seat = this.seat(name);
    if (seat !== undefined) seat.goesAt = null;
    // One that is back may be the one who was waited for.
    if (this.driver === undefined) this.grant();
    this.#lapse();
    this.#clocks();
  }
  /** A request lapses in its time, or when a driver who was away then is back. */
  #lapse(): void {
    if (typeof this.driver?.goesAt === "number") return;
    this.requests = this.requests.filter((request) => request.lapsesAt > this.now);
  }
  /** The wheel is free: the oldest who asked and is there gets it. */
  grant(): void {
    const next = this.requests.find((request) => this.seat(request.name)?.goesAt === null);
    if (next !== undefined) this.drive(next.name);
  }
  drive(name: string): void {
    for (const seat of this.seats) seat.role = seat.name === name ? "driver" : "viewer";
    this.requests = this.requests.filter((request) => request.name !== name);
    this.#clocks();
  }
  yieldTo(name: string | undefined): void {
    const driver = this.driver;
    if (driver !== undefined) driver.role = "viewer";
    if (name === undefined) this.grant();
    else this.drive(name);
    this.#clocks();
  }

  // Prompts.
  accept(id: string, text: string, whenBusy: WhenBusy): void {
    this.sent.set(id, text);
    if (this.turn === null) return this.begin(id);
    this.queue.push({ id, text, whenBusy, held: false, cameIn: this.turnsBegun });
    if (whenBusy === "interrupt") this.endTurn();
  }
  end(id: string, how: string): void {
    if (this.ends.has(id)) throw new Error(`${id} ends a second time`);
    this.ends.set(id, how);
  }
  remove(id: string, how: string): void {
    this.queue = this.queue.filter((prompt) => prompt.id !== id);
    this.end(id, how);
  }
  begin(id: string): void {
    this.queue = this.queue.filter((prompt) => prompt.id !== id);
    this.end(id, "delivered");
    this.turn = id;
    this.turnsBegun += 1;
  }
  /** @returns how many prompts the turn takes in */
  steer(): number {
    const taken = this.queue.filter((prompt) => prompt.whenBusy === "steer" && !prompt.held && prompt.cameIn === this.turnsBegun);
    for (const { id } of taken) this.remove(id, "delivered");
    return taken.length;
  }
  endTurn(): void {
    this.turn = null;
    this.questions = [];
    for (const [command, scope] of this.allowed) if (scope === "turn") this.allowed.delete(command);
    this.beginNext();
  }
  beginNext(): void {
    const next = order.flatMap((how) => this.queue.filter((prompt) => prompt.whenBusy === how && !prompt.held))[0];
    if (this.turn === null && next !== undefined) this.begin(next.id);
  }
  hold(): void {
    for (const prompt of this.queue) prompt.held = true;
  }

  // Questions.
  ask(call: string, command: string): void {
    if (this.allowed.has(command)) return;
    this.questions.push({ call, command, remaining: null, dueAt: null });
    this.#clocks();
  }
  setPolicy(policy: Policy): void {
    // The same one again begins no clock anew.
    if (JSON.stringify(policy) === JSON.stringify(this.policy)) return;
    this.policy = policy;
    for (const question of this.questions) question.remaining = question.dueAt = null;
    this.#clocks();
  }
  #clocks(): void {
    if (this.policy.type === "hold") return;
    const attended = this.driver?.goesAt === null;
    for (const question of this.questions) {
      question.remaining ??= this.policy.ms;
      if (attended && question.dueAt !== null) {
        question.remaining = Math.max(0, question.dueAt - this.now);
        question.dueAt = null;
      } else if (!attended) question.dueAt ??= this.now + question.remaining;
    }
  }

  /** What falls due, in the order of time. */
  advance(ms: number): void {
    const until = this.now + ms;
    for (;;) {
      const due = [
        ...this.seats.flatMap(({ name, goesAt }) => (goesAt === null ? [] : [{ at: goesAt, happens: () => this.leave(name) }])),
        ...this.requests.flatMap(({ lapsesAt }) => (lapsesAt > this.now ? [{ at: lapsesAt, happens: () => this.#lapse() }] : [])),
        ...this.questions.flatMap((question) =>
          question.dueAt === null ? [] : [{ at: question.dueAt, happens: () => void (this.questions = this.questions.filter((other) => other !== question)) }],
        ),
      ].sort((a, b) => a.at - b.at)[0];
      if (due === undefined || due.at > until) break;
      this.now = due.at;
      due.happens();
    }
    this.now = until;
  }
}

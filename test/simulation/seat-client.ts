import { isDeepStrictEqual } from "node:util";
import { reduce, SessiondError, type Fault, type Frame, type Seat, type SessionState } from "@sessiond/shared";
import { linkInProcess } from "../../packages/daemon/src/testing.ts";
import type { EncodedFrames } from "../../packages/daemon/src/room/encoded-frames.ts";
import type { Boot } from "./boot.ts";
import type { SimSession, SimToken } from "./records.ts";
import { holds } from "./violation.ts";
import type { World } from "./world.ts";

/**
 * One client of one session: its secret, its cursor, what it has folded for itself. Whatever comes on
 * its stream is checked as it comes: in the journal already, byte for byte, each frame behind the one
 * before, and a snapshot in their place only where the cursor could not be served.
 */
type Item =
  | { type: "snapshot"; cursor: string; head: number; seat: Seat | null; snapshot: SessionState; fault?: Fault; reset?: string }
  | { type: "resumed"; cursor: string; head: number; seat: Seat | null; fault?: Fault }
  | { type: "batch"; cursor: string; head: number; frames: EncodedFrames; fault?: Fault };

export interface Attach {
  readonly role: "driver" | "viewer";
  readonly fallback?: boolean;
  readonly force?: boolean;
  readonly resume?: boolean;
}

export class SeatClient {
  readonly name: string;
  readonly session: SimSession;
  token: SimToken;
  secret: string;
  seatId: string | null = null;
  cursor: string | null = null;
  state: SessionState | null = null;
  /** Its stream: undefined when there is none. */
  #connection: AbortController | undefined;
  #boot: Boot | undefined;
  /** The stream has begun. */
  #begun = false;
  #losses = 0;
  /** Text of the frame that its cursor names. */
  #lastText: string | undefined;
  #stalled: (() => void)[] | null = null;
  readonly #world: World;

  constructor(world: World, session: SimSession, name: string, token: SimToken, secret: string) {
    this.#world = world;
    this.session = session;
    this.name = name;
    this.token = token;
    this.secret = secret;
  }

  /** A stream is there, or being opened. */
  get connected(): boolean {
    return this.#connection !== undefined && this.#boot?.alive === true;
  }

  get streaming(): boolean {
    return this.connected && this.#begun;
  }

  get stalled(): boolean {
    return this.#stalled !== null;
  }

  get auth(): { token: string; seat_secret: string } {
    return { token: this.token.secret, seat_secret: this.secret };
  }

  /** Another client of the same name, that knows nothing yet. */
  forget(token: SimToken, secret: string): void {
    this.token = token;
    this.secret = secret;
    this.seatId = this.cursor = this.state = null;
  }

  /** It takes nothing more from its socket, until `goOn`. */
  stall(): void {
    this.#stalled ??= [];
  }

  goOn(): void {
    for (const wake of this.#stalled?.splice(0) ?? []) wake();
    this.#stalled = null;
  }

  drop(): void {
    this.goOn();
    this.#connection?.abort();
    this.#lost();
  }

  #lost(): void {
    this.#connection = undefined;
    this.#begun = false;
  }

  /** @param settled  told how the attach was answered: a code, or `ok` */
  attach(boot: Boot, { role, fallback, force, resume }: Attach, settled: (outcome: string) => void): void {
    const before = this.#connection;
    const connection = new AbortController();
    this.goOn();
    this.#connection = connection;
    this.#boot = boot;
    this.#begun = false;
    const cursor = resume === true ? this.cursor : null;
    const input = {
      session_id: this.session.id,
      role,
      label: this.name,
      auth: this.auth,
      ...(fallback && { fallback: "viewer" }),
      ...(force && { force: true }),
      ...(cursor !== null && { cursor }),
    };
    const ready = (): Promise<void> => (this.#stalled === null ? Promise.resolve() : new Promise((resolve) => this.#stalled?.push(resolve)));
    const caller = boot.connect(linkInProcess({ signal: connection.signal, ready }));
    let answered = false;
    const answer = (outcome: string): void => {
      if (!answered) settled(outcome);
      answered = true;
    };
    const heard = (): boolean => boot.alive && this.#connection === connection;
    void (async () => {
      try {
        const stream = (await caller["attach"]?.(input)) as AsyncIterable<[string, Item]>;
        for await (const [, item] of stream) {
          if (!heard()) continue;
          this.#world.guarded(() => this.#take(item, cursor));
          this.#begun = true;
          answer("ok");
        }
        if (boot.alive) answer("ok");
        if (heard()) this.#lost();
      } catch (error) {
        const known = ((error as Error).cause ?? error) as Error;
        const code = known instanceof SessiondError ? known.code : `${known.name}: ${known.message}`;
        if (!boot.alive) return;
        if (heard()) {
          if (this.#begun) this.#world.guarded(() => this.#world.streamEnded(this, code));
          this.#lost();
        }
        answer(code);
      }
    })();
    // The same client on a newer connection: the older one hangs for a while yet, and then it is noticed.
    if (before !== undefined && before !== connection) before.abort();
  }

  #take(item: Item, asked: string | null): void {
    const { view } = this.session;
    view.refresh();
    const seq = Number(item.cursor.split(":")[1]);
    holds(item.head >= seq, "B33", () => `head ${item.head} lies before the cursor ${item.cursor}`);
    if (item.type === "snapshot") {
      this.#mayReset(item.reset, asked);
      holds(item.snapshot.seq === seq, "B31", () => `a snapshot at ${item.snapshot.seq} under the cursor ${item.cursor}`);
      this.state = item.snapshot;
      this.seatId = item.seat?.seat_id ?? null;
    } else if (item.type === "resumed") {
      holds(item.cursor === asked, "B32", () => `asked for ${asked ?? "nothing"}, resumed at ${item.cursor}`);
      holds(
        view.text(seq) === this.#lastText,
        "B32",
        () => `${item.cursor} was served; this client's last frame was ${this.#lastText ?? "?"}, the journal has ${view.text(seq) ?? "?"}`,
      );
      this.seatId = item.seat?.seat_id ?? null;
    } else {
      for (const [index, text] of item.frames.texts.entries()) this.#frame(text, item.frames.parsed()[index] as Frame);
      holds((this.state?.seq ?? 0) === seq, "B31", () => `a batch up to ${seq} leaves the client at ${this.state?.seq ?? 0}`);
    }
    this.cursor = item.cursor;
    this.#losses = view.losses;
    this.#lastText = view.text(seq);
    view.settled = Math.max(view.settled, seq);
  }

  #frame(text: string, frame: Frame): void {
    const { view } = this.session;
    const last = this.state?.seq ?? 0;
    const dense = frame.seq === last + 1;
    holds(dense || (frame.seq > last && frame.seq <= view.compactedThrough + 1), "B31", () => `${this.name} has ${last} and gets ${frame.seq}`);
    const written = view.text(frame.seq);
    holds(written === text, "B30", () => `${this.name} is shown ${text}, and the journal has ${written ?? "nothing"}`);
    if (this.state !== null) this.state = reduce(this.state, frame);
  }

  #mayReset(reset: string | undefined, asked: string | null): void {
    if (asked === null || reset === undefined)
      return holds(asked === null && reset === undefined, "B32", () => `cursor ${asked ?? "none"}, reset ${reset ?? "none"}`);
    const { view } = this.session;
    const [epoch = 0, seq = 0] = asked.split(":").map(Number);
    const lost = this.#losses !== view.losses;
    const old = seq < Math.max(view.compactedThrough, view.compactionBegunThrough) || epoch < Math.max(0, ...view.epochs) - this.#world.limits.epochs_kept + 1;
    holds(reset === "too_old" ? old || lost : lost, "B32", () => `cursor ${asked} got a reset: ${reset}; the newest epoch is ${Math.max(...view.epochs)}`);
  }

  /** What it has folded must be what the daemon shows. */
  compare(shown: SessionState): void {
    if (this.state === null || this.state.seq !== shown.seq || !this.streaming) return;
    holds(
      isDeepStrictEqual(this.state, shown),
      "B31",
      () => `${this.name} has folded ${JSON.stringify(this.state)}, and the daemon shows ${JSON.stringify(shown)}`,
    );
  }
}

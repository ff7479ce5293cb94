import { cp, mkdir, readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { emptyState, reduce } from "@sessiond/shared";
import type { Approval, Auth, EventOf, EventType, Fault, Frame, Seat, SessiondError, SessionState, VerbInput, VerbOutput, WhenBusy } from "@sessiond/shared";
import type { EncodedFrames } from "../../packages/daemon/src/room/encoded-frames.ts";
import { removeRoot, startTestDaemon, testRoot, type TestDaemon, type TestOptions } from "../../packages/daemon/src/testing.ts";
import { FakeClock } from "./fake-clock.ts";
import { ScriptedKind, type ScriptOptions } from "./scripted-agent.ts";

/** One session of an in-process daemon with a scripted agent and a clock that the test moves, and seats in it. */
export interface RigOptions extends TestOptions {
  readonly script?: ScriptOptions;
}

type Item =
  | { type: "snapshot"; cursor: string; head: number; seat: Seat | null; snapshot: SessionState; fault?: Fault; reset?: string }
  | { type: "resumed"; cursor: string; head: number; seat: Seat | null; fault?: Fault }
  | { type: "batch"; cursor: string; head: number; frames: EncodedFrames; fault?: Fault };

export interface AttachOptions {
  readonly role?: "driver" | "viewer";
  readonly fallback?: "viewer";
  readonly force?: true;
  readonly cursor?: string;
  readonly secret?: string;
  readonly token?: string;
}

const roots = new Set<string>();
const daemons = new Map<TestDaemon, FakeClock>();

/** For `afterEach`: stops all daemons of this file's rigs and removes their folders. */
export async function endRigs(): Promise<void> {
  await Promise.all([...daemons].map(([daemon, clock]) => stopSoon(daemon, clock)));
  daemons.clear();
  for (const root of roots) await removeRoot(root);
  roots.clear();
}

/** Its waits are over as soon as they begin; what hangs on a held disk is left behind. */
async function stopSoon(daemon: TestDaemon, clock: FakeClock): Promise<void> {
  let stopped = false;
  void daemon.stop(0).then(() => (stopped = true));
  for (let tries = 0; !stopped && tries < 200; tries++) {
    // In small steps: a leap would be longer than the daemon waits for a disk that only needs a moment.
    clock.advance(100);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

let made = 0;
export const promptId = (name: string | number = ++made): string => `prm_${String(name).padStart(22, "0")}`;
export const seatSecret = (name: string): string => `${name}-${++made}`.padEnd(24, "_");

export class Rig {
  readonly daemon: TestDaemon;
  readonly clock: FakeClock;
  readonly kind: ScriptedKind;
  readonly workdir: string;
  readonly #options: RigOptions;
  sessionId = "";
  token = "";

  constructor(daemon: TestDaemon, parts: { clock: FakeClock; kind: ScriptedKind; workdir: string; options: RigOptions }) {
    this.daemon = daemon;
    this.clock = parts.clock;
    this.kind = parts.kind;
    this.workdir = parts.workdir;
    this.#options = parts.options;
  }

  /** A daemon and a session in it. */
  static async start(options: RigOptions = {}): Promise<Rig> {
    const rig = await Rig.#daemon(options);
    await mkdir(rig.workdir, { recursive: true });
    await rig.startSession();
    return rig;
  }

  static async #daemon(options: RigOptions): Promise<Rig> {
    const { script, ...rest } = options;
    const root = rest.root ?? (await testRoot());
    roots.add(root);
    const clock = (rest.clock as FakeClock | undefined) ?? new FakeClock();
    const kind = new ScriptedKind(script);
    const daemon = await startTestDaemon({ ...rest, root, clock, kinds: [kind] });
    daemons.set(daemon, clock);
    return new Rig(daemon, { clock, kind, workdir: join(root, "work"), options });
  }

  /** The session of `workdir`, or its next life. */
  async startSession(): Promise<VerbOutput<"start_session">> {
    const started = await this.daemon.call("start_or_get_for_workdir", { workdir: this.workdir }, { host_key: this.daemon.hostKey });
    this.sessionId = started.session.session_id;
    this.token = started.token;
    return started;
  }

  /** A second session beside the first, on the same daemon. */
  async another(name: string): Promise<Rig> {
    const { clock, kind } = this;
    const rig = new Rig(this.daemon, { clock, kind, workdir: join(this.daemon.root, name), options: this.#options });
    await mkdir(rig.workdir, { recursive: true });
    await rig.startSession();
    return rig;
  }

  /**
   * What a start after `kill -9` at this very instant finds: the state directory is copied while
   * this daemon lives on, and another is started on the copy.
   */
  async crash(options: RigOptions = {}): Promise<Rig> {
    return Rig.restart(await this.copy(), this, options);
  }

  /** The state directory as it is now, in a root of its own. */
  async copy(): Promise<string> {
    const root = await testRoot();
    roots.add(root);
    await cp(join(this.daemon.root, "state"), join(root, "state"), { recursive: true });
    return root;
  }

  /** A daemon on `root`, with the same session and token. */
  static async restart(root: string, before: Rig, options: RigOptions = {}): Promise<Rig> {
    const { disk: _disk, ...kept } = before.#options;
    const rig = await Rig.#daemon({ ...kept, clock: new FakeClock(before.clock.now()), ...options, root });
    rig.sessionId = before.sessionId;
    rig.token = before.token;
    return rig;
  }

  attach(label: string, { role = "viewer", fallback, force, cursor, secret = seatSecret(label), token = this.token }: AttachOptions = {}): Promise<TestSeat> {
    return TestSeat.open(
      this,
      { role, label, ...(fallback && { fallback }), ...(force && { force }), ...(cursor !== undefined && { cursor }) },
      { token, seat_secret: secret },
    );
  }

  driver(label = "driver", options: AttachOptions = {}): Promise<TestSeat> {
    return this.attach(label, { ...options, role: "driver" });
  }

  info(): Promise<VerbOutput<"session_info">> {
    return this.daemon.call("session_info", { session_id: this.sessionId }, { token: this.token });
  }

  stop(): Promise<VerbOutput<"stop">> {
    return this.daemon.call("stop", { session_id: this.sessionId }, { token: this.token });
  }

  interrupt(turnId: string): Promise<VerbOutput<"interrupt">> {
    return this.daemon.call("interrupt", { session_id: this.sessionId, turn_id: turnId }, { token: this.token });
  }

  get journalPath(): string {
    return join(this.daemon.root, "state/sessiond/sessions", this.sessionId, "journal");
  }

  /** Lines of the journal, epoch records and the headers of its later segments among them. */
  async lines(): Promise<string[]> {
    const names = (await readdir(dirname(this.journalPath))).filter((name) => /^journal(-\d+)?$/.test(name));
    const segments = names.toSorted((a, b) => Number(a.slice(8)) - Number(b.slice(8)));
    const texts = await Promise.all(segments.map((name) => readFile(join(dirname(this.journalPath), name), "utf8")));
    return texts.flatMap((text) => text.split("\n")).filter((line) => line !== "");
  }

  /** Frames as they lie in the journal. */
  async journal(): Promise<Frame[]> {
    return (await this.lines()).filter((line) => line.startsWith('{"seq"')).map((line) => JSON.parse(line) as Frame);
  }
}

export const eventsOf = <T extends EventType>(frames: readonly Frame[], type: T): EventOf<T>[] =>
  frames.map((frame) => frame.event).filter((event): event is EventOf<T> => event.type === type);

export class TestSeat {
  readonly rig: Rig;
  readonly auth: Auth;
  readonly frames: Frame[] = [];
  /** As sent: the journal's own text. */
  readonly texts: string[] = [];
  /** Each change of the fault, as it was told. */
  readonly faults: (Fault | undefined)[] = [];
  state: SessionState;
  cursor = "";
  head = 0;
  fault: Fault | undefined;
  first: Exclude<Item, { type: "batch" }> | undefined;
  /** Undefined while it runs; null: completed; else what ended it. */
  end: SessiondError | null | undefined;
  readonly #connection = new AbortController();
  #watchers: (() => void)[] = [];

  private constructor(rig: Rig, auth: Auth) {
    this.rig = rig;
    this.auth = auth;
    this.state = emptyState(rig.sessionId);
  }

  /** @throws SessiondError  what the daemon refused with */
  static async open(rig: Rig, input: Omit<VerbInput<"attach">, "session_id">, auth: Auth): Promise<TestSeat> {
    const seat = new TestSeat(rig, auth);
    const stream = await rig.daemon.stream("attach", { session_id: rig.sessionId, ...input }, auth, seat.#connection.signal);
    void seat.#read(stream as AsyncIterable<[string, Item]>);
    await seat.until(() => seat.first !== undefined || seat.end !== undefined);
    if (seat.end) throw seat.end;
    return seat;
  }

  get seatId(): string {
    return this.first?.seat?.seat_id ?? "";
  }

  /** The connection is lost. Resolves when the stream has ended. */
  async drop(): Promise<void> {
    this.#connection.abort();
    await this.until(() => this.end !== undefined);
  }

  /** Resolves when `condition` holds; looked at after each item. */
  async until(condition: (seat: TestSeat) => boolean): Promise<void> {
    while (!condition(this)) await new Promise<void>((resolve) => this.#watchers.push(resolve));
  }

  /** The newest frame of a type, as soon as there are `count` of them. */
  async event<T extends EventType>(type: T, count = 1): Promise<EventOf<T>> {
    await this.until(() => eventsOf(this.frames, type).length >= count);
    return eventsOf(this.frames, type)[count - 1] as EventOf<T>;
  }

  async question(count = 1): Promise<Approval> {
    await this.until(() => this.state.approvals.length >= count);
    return this.state.approvals[count - 1] as Approval;
  }

  prompt(text: string, { id = promptId(), whenBusy = "queue" }: { id?: string; whenBusy?: WhenBusy } = {}): Promise<VerbOutput<"send_prompt">> {
    const input = { session_id: this.rig.sessionId, prompt_id: id, parts: [{ type: "text" as const, text }], when_busy: whenBusy };
    return this.rig.daemon.call("send_prompt", input, this.auth);
  }

  edit(id: string, text: string): Promise<VerbOutput<"edit_prompt">> {
    return this.rig.daemon.call("edit_prompt", { session_id: this.rig.sessionId, prompt_id: id, parts: [{ type: "text", text }] }, this.auth);
  }

  withdraw(id: string): Promise<VerbOutput<"withdraw_prompt">> {
    return this.rig.daemon.call("withdraw_prompt", { session_id: this.rig.sessionId, prompt_id: id }, this.auth);
  }

  release(): Promise<VerbOutput<"release_queue">> {
    return this.rig.daemon.call("release_queue", { session_id: this.rig.sessionId }, this.auth);
  }

  approve(approval: { approval_id: string; digest: string }, option = "allow_once", reason?: string): Promise<VerbOutput<"approve">> {
    const { approval_id, digest } = approval;
    const input = { session_id: this.rig.sessionId, approval_id, option_id: option, digest, ...(reason !== undefined && { reason }) };
    return this.rig.daemon.call("approve", input, this.auth);
  }

  takeDriver(how: "if_free" | "ask" | "force", from?: string): Promise<VerbOutput<"take_driver">> {
    return this.rig.daemon.call("take_driver", { session_id: this.rig.sessionId, how, ...(from !== undefined && { driver_seat_id: from }) }, this.auth);
  }

  yieldDriver(to?: string): Promise<VerbOutput<"yield_driver">> {
    return this.rig.daemon.call("yield_driver", { session_id: this.rig.sessionId, ...(to !== undefined && { to }) }, this.auth);
  }

  detach(): Promise<VerbOutput<"detach">> {
    return this.rig.daemon.call("detach", { session_id: this.rig.sessionId }, this.auth);
  }

  async #read(stream: AsyncIterable<[string, Item]>): Promise<void> {
    try {
      for await (const [, item] of stream) {
        this.#take(item);
        this.#wake();
      }
      this.end = null;
    } catch (error) {
      this.end = ((error as Error).cause ?? error) as SessiondError;
    }
    this.#wake();
  }

  #take(item: Item): void {
    this.cursor = item.cursor;
    this.head = item.head;
    if (item.fault?.since !== this.fault?.since) this.faults.push(item.fault);
    this.fault = item.fault;
    if (item.type !== "batch") {
      this.first = item;
      if (item.type === "snapshot") this.state = item.snapshot;
      return;
    }
    for (const frame of item.frames.parsed()) {
      this.frames.push(frame);
      this.state = reduce(this.state, frame);
    }
    this.texts.push(...item.frames.texts);
  }

  #wake(): void {
    for (const wake of this.#watchers.splice(0)) wake();
  }
}

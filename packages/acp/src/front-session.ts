import type { ContentPart, DriverSeat, Frame, SeatEvent, Session, SessionState, ViewerSeat } from "@sessiond/client";
import { isAcpError, acpErrors, type AcpLoadSessionResponse, type AcpPromptResponse, type AcpUpdate, type JsonRpcPeer } from "@sessiond/shared/acp";
import type { Limits } from "@sessiond/shared";
import { onlyLooks, told, tooMany } from "./errors.ts";
import type { FrontOptions } from "./options.ts";
import { Orphan } from "./orphan.ts";
import { OwnPrompt } from "./own-prompt.ts";
import { Projection } from "./projection.ts";
import { Questions } from "./questions.ts";
import { Reader } from "./reader.ts";
import { ToldSettings, optionsOf, wantedOf, type ClientFacts } from "./settings.ts";
import { ToolCalls } from "./tool-calls.ts";
import { Wheel } from "./wheel.ts";

export interface FrontSessionParts {
  readonly session: Session;
  readonly peer: JsonRpcPeer;
  readonly options: FrontOptions;
  readonly client: ClientFacts;
  readonly limits: Limits;
  /** The owner minted the session's token. */
  readonly owner: boolean;
  readonly ended: () => void;
}

export interface Opening {
  /** Everything that was said and done so far is told first. */
  readonly replay: boolean;
  /** The editor asked for this very session: a turn that it finds there without a driver may be its own of before. */
  readonly back: boolean;
}

/**
 * One session that the editor has open: a seat in it that looks, and drives while something of this connection is under way.
 * ACP cannot say whose turn an update belongs to, so the editor is shown its own, unless it wants all (`--observe`).
 */
export class FrontSession {
  readonly session: Session;
  readonly #parts: FrontSessionParts;
  readonly #seat: ViewerSeat;
  readonly #wheel: Wheel;
  readonly #reader: Reader;
  readonly #projection: Projection;
  readonly #questions: Questions;
  readonly #told: ToldSettings;
  readonly #prompts = new Set<OwnPrompt>();
  /** Under way; they never fail, and are bounded. */
  readonly #cancels = new Set<Promise<void>>();
  /** Turns whose updates are shown and whose questions are this connection's: those it started, and one that it found orphaned. */
  readonly #turns = new Set<string>();
  #orphan: Orphan | null = null;

  private constructor(parts: FrontSessionParts, seat: ViewerSeat) {
    const { session, peer, limits, client, owner, ended } = parts;
    this.#parts = parts;
    this.session = session;
    this.#seat = seat;
    this.#wheel = new Wheel(seat, limits.acp_yield_wait_ms);
    const calls = new ToolCalls(() => seat.state, { runningChars: limits.acp_running_output_chars_max, kept: limits.acp_calls_kept_max });
    this.#projection = new Projection(calls);
    this.#questions = new Questions({ peer, seat, wheel: this.#wheel, calls, owner, say: (text) => this.#say(text) });
    this.#told = new ToldSettings(client);
    this.#reader = new Reader({
      seat,
      take: (event) => this.#take(event),
      rest: () => this.#send(this.#projection.calls.output()),
      flushed: () => peer.flushed(),
      ended: () => {
        this.#questions.close();
        ended();
      },
    });
  }

  /** @throws SessiondError */
  static async open(parts: FrontSessionParts, how: Opening): Promise<FrontSession> {
    const seat = await parts.session.attach({ as: "viewer", label: parts.client.label });
    const front = new FrontSession(parts, seat);
    try {
      const first = await front.#reader.first();
      if (first?.type === "snapshot") await front.#begin(first.state, how);
      return front;
    } catch (error) {
      await front.leave();
      throw error;
    }
  }

  get id(): string {
    return this.session.id;
  }

  get busy(): boolean {
    return this.#prompts.size > 0;
  }

  /** Modes and settings, for the response that names the session. */
  settings(): AcpLoadSessionResponse {
    return this.#told.answered(this.#seat.state);
  }

  /** To be called when the response that names the session has been sent: updates may only follow it. */
  run(): void {
    this.#send(this.#told.news(this.#seat.state));
    this.#questions.reconsider();
    void this.#reader.run();
  }

  /** Runs a prompt to the end of its turn. Its place among prompts is that of the call. @throws AcpError */
  async prompt(parts: ContentPart[], signal: AbortSignal): Promise<AcpPromptResponse> {
    const { limits, options } = this.#parts;
    if (options.viewer) throw onlyLooks();
    if (this.#prompts.size >= limits.acp_prompts_open_max) throw tooMany("acp_prompts_open_max", limits.acp_prompts_open_max);
    const own = new OwnPrompt();
    this.#prompts.add(own);
    // The end of the connection aborts too, and ends no turn.
    const onAbort = (): void => void (isAcpError(signal.reason, acpErrors.request_cancelled) && this.#cancel(own));
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await this.#driving((driver) => this.#run(driver, own, parts), own.over.signal);
    } catch (error) {
      return own.failed(error, this.id);
    } finally {
      signal.removeEventListener("abort", onAbort);
      own.over.abort();
      this.#prompts.delete(own);
    }
  }

  async #run(driver: DriverSeat, own: OwnPrompt, parts: ContentPart[]): Promise<AcpPromptResponse> {
    await this.#adopt();
    // An interrupt under way would hold what is sent before it has come.
    if (!own.cancelled) await Promise.all(this.#cancels);
    if (own.cancelled) return { stopReason: "cancelled" };
    own.sent = true;
    const turn = await driver.prompt(parts, { promptId: own.id, whenBusy: "queue", signal: own.over.signal });
    await this.#reader.reached(this.#seat.state.seq);
    return own.answer(turn);
  }

  /** Ends the turns of this connection's prompts, and takes back those that wait. */
  cancel(): void {
    // Those that wait first: else the end of one turn begins the next.
    for (const own of [...this.#prompts].reverse()) void this.#cancel(own);
  }

  async #cancel(own: OwnPrompt): Promise<void> {
    const cancel = own.cancel(this.session, this.#seat, this.#parts.limits.acp_cancel_wait_ms);
    this.#cancels.add(cancel);
    await cancel;
    this.#cancels.delete(cancel);
  }

  /** @throws AcpError */
  async configure(wanted: (state: SessionState) => Parameters<DriverSeat["configure"]>[0]): Promise<void> {
    if (this.#parts.options.viewer) throw onlyLooks();
    try {
      const { seq } = await this.#driving((driver) => driver.configure(wanted(this.#seat.state)));
      while (this.#seat.state.seq < seq && this.#seat.connection !== "ended") await this.#seat.changed();
    } catch (error) {
      throw told(error, this.id);
    }
  }

  async setOption(id: string, value: string | boolean): Promise<ReturnType<typeof optionsOf>> {
    await this.configure((state) => wantedOf(state, id, value));
    return optionsOf(this.#seat.state, this.#parts.client);
  }

  /** Leaves; the session works on. Never fails. */
  async leave(): Promise<void> {
    for (const { over } of this.#prompts) over.abort();
    this.#questions.close();
    await this.session.close();
  }

  async #driving<T>(work: (driver: DriverSeat) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const driver = await this.#wheel.hold(signal);
    try {
      return await work(driver);
    } finally {
      // Before the answer: whoever acts upon it elsewhere finds the seat free.
      await this.#wheel.release();
    }
  }

  async #begin(state: SessionState, { replay, back }: Opening): Promise<void> {
    this.#projection.begin(state.queue);
    if (back && !this.#parts.options.viewer) this.#orphan = Orphan.in(state);
    if (this.#orphan?.nobodys === true) this.#turns.add(this.#orphan.turnId);
    if (replay && this.#parts.options.observe !== "none") await this.#replay(state.seq);
    for (const approval of state.approvals) if (this.#turns.has(approval.turn_id)) this.#questions.opened(approval);
  }

  /** The editor drives: a turn whose driver was waited for, and did not come back, keeps its prompts waiting and is its to answer for. */
  async #adopt(): Promise<void> {
    if (this.#orphan === null || this.#turns.has(this.#orphan.turnId)) return;
    // Whether somebody else has driven meanwhile is known when all of that was read.
    await this.#reader.reached(this.#seat.state.seq);
    const { turn, approvals } = this.#seat.state;
    if (this.#orphan === null || turn?.turn_id !== this.#orphan.turnId) return;
    this.#turns.add(turn.turn_id);
    for (const approval of approvals) if (approval.turn_id === turn.turn_id) this.#questions.opened(approval);
  }

  #letGo({ turnId }: Orphan): void {
    this.#orphan = null;
    this.#turns.delete(turnId);
    this.#questions.only(({ turn_id }) => turn_id !== turnId);
  }

  /** Pages, as fast as the editor takes them. @throws SessiondError */
  async #replay(upTo: number): Promise<void> {
    for (let after = 0; after < upTo;) {
      const { frames, more } = await this.session.data({ after });
      for (const frame of frames) {
        if (frame.seq > upTo) break;
        this.#projection.note(frame.event);
        this.#send(this.#projection.replayed(frame));
      }
      after = frames.at(-1)?.seq ?? upTo;
      if (!more && after < upTo) break;
      await this.#parts.peer.flushed();
    }
    this.#send(this.#projection.calls.output());
  }

  #take(event: SeatEvent): void {
    if (event.type === "frame") this.#frame(event.frame);
    else {
      // Frames between were not seen: what is open now is what is there.
      const { queue, turn, approvals } = event.state;
      this.#projection.begin(queue);
      for (const id of this.#turns) if (id !== turn?.turn_id) this.#turns.delete(id);
      if (turn !== null) this.#runs(turn);
      this.#questions.only(({ approval_id }) => approvals.some((each) => each.approval_id === approval_id));
      if (this.#orphan?.takenIn(event.state, this.#seat.seatId) === true) this.#letGo(this.#orphan);
      for (const approval of approvals) if (this.#turns.has(approval.turn_id)) this.#questions.opened(approval);
      this.#takeBackHeld();
      this.#wheelMoved();
    }
  }

  #frame(frame: Frame): void {
    const { event } = frame;
    this.#projection.note(event);
    if (this.#orphan?.takenBy(event, this.#seat.seatId) === true) this.#letGo(this.#orphan);
    switch (event.type) {
      case "turn_started":
        this.#runs(event);
        break;
      case "prompt_delivered":
        return this.#send(this.#projection.delivered(event.prompt_id, this.#shows(event.turn_id) && !this.#sent(event.prompt_id)));
      case "approval_requested":
        if (this.#turns.has(event.approval.turn_id)) this.#ask(event.approval.approval_id);
        break;
      case "approval_resolved":
        return this.#questions.closed(event.approval_id);
      case "queue_held":
        return this.#takeBackHeld();
      case "driver_changed":
        return this.#wheelMoved();
      case "seat_left":
      case "seat_taken":
        return this.#questions.reconsider();
      case "agent_facts":
      case "session_configured":
      case "session_started":
        return this.#send(this.#told.news(this.#seat.state));
      default:
    }
    if ("turn_id" in event ? this.#shows(event.turn_id) : this.#shows()) this.#send(this.#projection.of(frame));
    if (event.type === "turn_ended") this.#turns.delete(event.turn_id);
  }

  #wheelMoved(): void {
    void this.#wheel.settle();
    this.#questions.reconsider();
  }

  #runs({ turn_id, prompt_ids }: Pick<NonNullable<SessionState["turn"]>, "turn_id" | "prompt_ids">): void {
    if (prompt_ids.some((id) => this.#sent(id))) this.#turns.add(turn_id);
  }

  /** What is held waits for a word that no editor can give: it is taken back, so that its prompt is answered. */
  #takeBackHeld(): void {
    const held = new Set(this.#seat.state.queue.flatMap((prompt) => (prompt.held ? [prompt.prompt_id] : [])));
    for (const own of this.#prompts) if (held.has(own.id)) void this.#cancel(own);
  }

  /** Only what is open still: this reader may be behind. */
  #ask(approvalId: string): void {
    const approval = this.#seat.state.approvals.find((each) => each.approval_id === approvalId);
    if (approval === undefined || this.#parts.options.viewer) return;
    this.#send(this.#projection.calls.output());
    this.#questions.opened(approval);
  }

  /** Without a turn: what is said to whoever reads along, while a turn of this connection runs. */
  #shows(turnId?: string): boolean {
    if (this.#parts.options.observe === "all") return true;
    return turnId === undefined ? this.#turns.size > 0 || this.busy : this.#turns.has(turnId);
  }

  #sent(promptId: string): boolean {
    return [...this.#prompts].some(({ id }) => id === promptId);
  }

  #send(updates: readonly AcpUpdate[]): void {
    for (const update of updates) this.#parts.peer.notify("session/update", { sessionId: this.id, update });
  }

  #say(text: string): void {
    this.#send([{ sessionUpdate: "agent_message_chunk", messageId: `sessiond-${this.#seat.state.seq}`, content: { type: "text", text } }]);
  }
}

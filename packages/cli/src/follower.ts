import type { Approval, SeatEvent, ViewerSeat } from "@sessiond/client";
import type { Shower } from "./shower.ts";

/**
 * Reads a seat's events, hands each to the shower, and knows what has been *shown*: a question
 * is asked, and a command ends, only when the person has seen what came before it.
 */
export class Follower {
  readonly #seat: ViewerSeat;
  readonly #shower: Shower;
  readonly #waiting = new Set<() => void>();
  /** Open questions that were shown, oldest first. */
  #questions: readonly Approval[] = [];
  readonly #refusedTurns = new Set<string>();
  #seq = -1;
  /** Undefined until the seat is over; then null, or why. */
  end: { readonly error: unknown } | undefined;

  constructor(seat: ViewerSeat, shower: Shower, notice: (text: string) => void) {
    this.#seat = seat;
    this.#shower = shower;
    let connection = seat.connection;
    seat.onChange(() => {
      if (seat.connection === connection) return;
      if (seat.connection === "reconnecting") notice("… reconnecting");
      else if (connection === "reconnecting" && seat.connection === "live") notice("connected again");
      connection = seat.connection;
      this.#tell();
    });
    void this.#read();
  }

  /** One that a rule has answered in the same moment is none. */
  get question(): Approval | undefined {
    const { approvals } = this.#seat.state;
    return this.#questions.find(({ approval_id }) => approvals.some((open) => open.approval_id === approval_id));
  }

  /** Everything that the seat has received was shown. */
  get caughtUp(): boolean {
    return this.#seq >= this.#seat.state.seq;
  }

  /** Someone refused a question of this turn. */
  refusedIn(turnId: string): boolean {
    return this.#refusedTurns.has(turnId);
  }

  isOpen(approvalId: string): boolean {
    return this.#questions.some((question) => question.approval_id === approvalId);
  }

  /** Resolves after the next event, change of connection, or the end. */
  changed(): Promise<void> {
    return new Promise((resolve) => this.#waiting.add(resolve));
  }

  async until(holds: () => boolean): Promise<void> {
    while (!holds()) {
      if (this.end !== undefined) return;
      await this.changed();
    }
  }

  async #read(): Promise<void> {
    try {
      for await (const event of this.#seat.events) {
        this.#take(event);
        this.#shower.event(event);
        this.#tell();
      }
      this.end = { error: null };
    } catch (error) {
      this.end = { error };
    }
    this.#shower.pause();
    this.#tell();
  }

  #take(event: SeatEvent): void {
    if (event.type === "snapshot") {
      this.#questions = event.state.approvals;
      this.#seq = event.state.seq;
      return;
    }
    this.#seq = event.frame.seq;
    const what = event.frame.event;
    if (what.type === "approval_requested") this.#questions = [...this.#questions, what.approval];
    if (what.type !== "approval_resolved") return;
    const closed = this.#questions.find((question) => question.approval_id === what.approval_id);
    this.#questions = this.#questions.filter((question) => question !== closed);
    const option = closed?.options.find((offered) => offered.option_id === what.option_id);
    const refused = what.cause === "deadline" || option?.kind.startsWith("reject") === true;
    if (closed !== undefined && refused) this.#refusedTurns.add(closed.turn_id);
  }

  #tell(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }
}

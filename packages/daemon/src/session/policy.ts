import type { Approval } from "@sessiond/shared";
import type { Clock } from "../clock.ts";

/**
 * The timer of a session's policy. When a question's time is up stands in the state (`deadline`,
 * there while no driver is seated); this waits for the nearest one, and says which are due.
 *
 * What it waits is never longer than what the question has left, whatever became of the machine's
 * clock; and when that has passed the question is due, whatever the clock says then.
 */
export interface PolicyHost {
  readonly clock: Clock;
  approvals(): readonly Approval[];
  /** False: nobody is told, and nothing is waited for any more. */
  writable(): boolean;
  /** End the question. */
  expire(approval: Approval): void;
}

export class PolicyTimer {
  readonly #host: PolicyHost;
  /** The deadline that is waited for. */
  #deadline: number | null = null;
  #cancel: () => void = () => undefined;

  constructor(host: PolicyHost) {
    this.#host = host;
  }

  /** After every frame: costs nothing while no question is open. */
  follow(): void {
    const next = nearest(this.#host.approvals());
    if ((next?.deadline ?? null) === this.#deadline) return;
    this.stop();
    if (next === null) return;
    const { deadline, remaining } = next;
    this.#deadline = deadline;
    this.#cancel = this.#host.clock.after(Math.max(0, Math.min(deadline - this.#host.clock.now(), remaining)), () => {
      this.#deadline = null;
      this.#expire(deadline);
    });
  }

  /** After a start or a reopened journal: what fell due meanwhile ends now. */
  catchUp(): void {
    this.#expire(this.#host.clock.now());
  }

  stop(): void {
    this.#cancel();
    this.#deadline = null;
  }

  /** End the questions whose deadline is not after `until`. */
  #expire(until: number): void {
    if (!this.#host.writable()) return;
    for (const approval of this.#host.approvals()) if (approval.deadline !== undefined && approval.deadline <= until) this.#host.expire(approval);
    this.follow();
  }
}

function nearest(approvals: readonly Approval[]): { deadline: number; remaining: number } | null {
  let found: { deadline: number; remaining: number } | null = null;
  for (const { deadline, remaining_ms: remaining = 0 } of approvals)
    if (deadline !== undefined && (found === null || deadline < found.deadline)) found = { deadline, remaining };
  return found;
}

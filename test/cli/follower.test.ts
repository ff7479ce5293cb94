import type { Approval, Frame, SeatEvent, SessionState, ViewerSeat } from "@sessiond/client";
import { emptyState } from "@sessiond/shared";
import { expect, test } from "vitest";
import { Follower } from "../../packages/cli/src/follower.ts";
import type { Shower } from "../../packages/cli/src/shower.ts";

const approval = { approval_id: "apr_1", turn_id: "trn_1", options: [] } as unknown as Approval;
const asked = { type: "frame", frame: { seq: 1, at: 0, event: { type: "approval_requested", approval } } as unknown as Frame } as SeatEvent;

/** A seat whose events come one by one, and whose state is already behind them all. */
function seatWith(approvals: readonly Approval[], events: AsyncIterable<SeatEvent>): ViewerSeat {
  const state: SessionState = { ...emptyState("ses_1"), seq: 2, approvals: [...approvals] };
  return { state, events, connection: "live", onChange: () => () => undefined } as unknown as ViewerSeat;
}

test("B29 a question is put to the person while it is open; one that a rule answered in the same moment never is, though its answer has yet to be shown", async () => {
  for (const [open, shown] of [
    [[approval], approval],
    [[], undefined],
  ] as const) {
    let end = (): void => undefined;
    const over = new Promise<void>((resolve) => (end = resolve));
    const events = (async function* () {
      yield asked;
      await over;
    })();
    const shower = { event: () => undefined, pause: () => undefined } as unknown as Shower;
    const follower = new Follower(seatWith(open, events), shower, () => undefined);
    await follower.changed();
    expect(follower.isOpen(approval.approval_id)).toBe(true);
    expect(follower.question).toBe(shown);
    end();
    await follower.until(() => follower.end !== undefined);
  }
});

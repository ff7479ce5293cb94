import { wordsOf, type SessionState } from "@sessiond/shared";
import type { SessionModel } from "./session-model.ts";
import { holds } from "./violation.ts";

/** What the daemon shows must be what the frames say. @throws Violation */
export function compareShown(model: SessionModel, shown: SessionState): void {
  const same = (promise: string, what: string, is: unknown, should: unknown): void =>
    holds(
      JSON.stringify(is) === JSON.stringify(should),
      promise,
      () => `${what} at ${model.seq}: shown ${JSON.stringify(is)}, should be ${JSON.stringify(should)}`,
    );
  same("B30", "seq", shown.seq, model.seq);
  same("B35", "life", [shown.life, shown.life_state], [model.life, model.live ? "live" : "stopped"]);
  same(
    "B17",
    "seats",
    shown.seats.map(({ seat_id, role, label, connected }) => [seat_id, role, label, connected]),
    [...model.seats.values()].map(({ id, role, label, connected }) => [id, role, label, connected]),
  );
  same(
    "B16",
    "requests",
    shown.driver_requests.map(({ seat_id, lapses_at }) => `${seat_id} ${lapses_at}`).toSorted(),
    [...model.requests].map(([id, at]) => `${id} ${at}`).toSorted(),
  );
  same(
    "B23",
    "queue",
    shown.queue.map(({ prompt_id, parts, held, when_busy }) => [prompt_id, wordsOf(parts), held, when_busy]),
    model.queue.map(({ id, text, held, whenBusy }) => [id, text, held, whenBusy]),
  );
  same(
    "B27",
    "questions",
    shown.approvals.map(({ approval_id }) => approval_id),
    [...model.approvals.keys()],
  );
  same("B22", "turn", [shown.turn?.turn_id ?? null, shown.turns], [model.turn?.id ?? null, model.turns]);
  same("B29", "rules", shown.rules.map(({ rule_id }) => rule_id).toSorted(), [...model.rules.keys()].toSorted());
  same(
    "B44",
    "settings",
    [shown.title, shown.starred, shown.model, shown.policy],
    [model.settings.title, model.settings.starred, model.settings.model, model.settings.policy],
  );
}

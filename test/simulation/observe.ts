import { wordsOf, type Frame } from "@sessiond/shared";
import { compareShown } from "./compare-shown.ts";
import type { SimSession } from "./records.ts";
import { SessionModel } from "./session-model.ts";
import { holds } from "./violation.ts";
import type { World } from "./world.ts";

/**
 * After each step: what is shown of each session is put to its model, and compared with what the
 * daemon shows; and what should have happened by now has.
 */
const slackMs = 3_000;

export function observe(world: World): void {
  world.guarded(() => {
    if (!world.boot.alive) return;
    for (const session of world.sessions) if (!session.gone) observeSession(world, session);
  });
  world.mustHold();
}

function observeSession(world: World, session: SimSession): void {
  const { host } = world.boot;
  if (host.entry(session.id) === undefined) return deleted(session);
  const { view } = session;
  view.refresh();
  const live = host.inMemory(session.id);
  if (live === undefined) {
    session.writableSince = world.time.running;
    // Whoever opens it next is shown all that is there.
    if (world.quiet && world.calls.size === 0) atRest(session);
    return;
  }
  if (session.losses !== view.losses) again(session);
  const head = live.log.room.head;
  holds(head <= view.last, "B30", () => `${head} is shown, and the journal has ${view.last}`);
  view.settled = Math.max(view.settled, head);
  while (session.model.seq < head) {
    const frame = view.frame(session.model.seq + 1);
    if (frame === undefined) break;
    before(world, session, frame);
    session.model.take(frame);
    note(world, session, frame);
  }
  if (session.model.seq !== head) return;
  // A journal that was taken up again begins all graces anew, under another epoch.
  const faulted = live.log.room.fault !== undefined;
  if (faulted || session.faulted || session.epochs !== view.epochs.size) session.writableSince = world.time.running;
  session.faulted = faulted;
  session.epochs = view.epochs.size;
  compareShown(session.model, live.log.shown.state);
  for (const seat of session.seats.values()) seat.compare(live.log.shown.state);
  overdue(world, session);
}

function atRest(session: SimSession): void {
  const { view } = session;
  if (session.losses !== view.losses) again(session);
  view.settled = Math.max(view.settled, view.last);
  for (let frame = view.frame(session.model.seq + 1); frame !== undefined; frame = view.frame(session.model.seq + 1)) session.model.take(frame);
}

/** A loss of power took frames that had been shown: the model begins again with what is left. */
function again(session: SimSession): void {
  session.losses = session.view.losses;
  const { settled } = session.view;
  session.model = new SessionModel();
  for (let frame = session.view.frame(1); frame !== undefined && frame.seq <= settled; frame = session.view.frame(frame.seq + 1)) session.model.take(frame);
}

export function deleted(session: SimSession): void {
  const { model, view } = session;
  if (session.gone) return;
  for (let frame = view.frame(model.seq + 1); frame !== undefined; frame = view.frame(model.seq + 1)) model.take(frame);
  const there = [...session.seats.values()].filter(({ streaming }) => streaming);
  holds(
    model.turns === 0 && model.queue.length === 0 && there.length === 0,
    "B13",
    () => `${session.id} was deleted; it had ${model.turns} turns, ${there.length} clients`,
  );
  session.gone = true;
  for (const seat of session.seats.values()) seat.drop();
}

/** What the agent was given is what the prompt said last. */
function before(world: World, session: SimSession, { event }: Frame): void {
  if (event.type !== "turn_started") return;
  const given = world.promptTexts.get(event.turn_id);
  const queued = session.model.queue.find(({ id }) => id === event.prompt_ids[0]);
  holds(
    given === undefined || queued === undefined || given === queued.text,
    "B23",
    () => `the agent was given "${given ?? ""}", and the prompt says "${queued?.text ?? ""}"`,
  );
}

function note(world: World, session: SimSession, { event, seq }: Frame): void {
  const { since } = session;
  const now = world.time.running;
  switch (event.type) {
    case "seat_lost":
      since.set(event.seat_id, now);
      return;
    case "seat_resumed":
      since.delete(event.seat_id);
      return;
    case "seat_left": {
      const lost = since.get(event.seat_id);
      if (event.cause === "grace" && lost !== undefined)
        holds(now - lost >= world.limits.seat_grace_ms / 2, "B15", () => `seat ${event.seat_id} had ${now - lost} ms of grace (${seq})`);
      since.delete(event.seat_id);
      return;
    }
    case "driver_requested":
      since.set(`request ${event.seat_id}`, now);
      return;
    case "prompt_accepted": {
      const prompt = session.prompts.get(event.prompt_id);
      if (prompt !== undefined) prompt.text = wordsOf(event.parts);
      return;
    }
    default:
      return;
  }
}

/** While nobody attends, the policy decides when its time is up. */
function unanswered(world: World, { model, since }: SimSession, from: number): void {
  const { policy } = model.settings;
  const waits = policy.type === "reject_after" && model.driver?.connected !== true && model.approvals.size > 0;
  const now = world.time.running;
  // Whatever changed began its clock anew, or let it stand.
  const key = waits ? `clock ${[...model.approvals.keys()].join()} ${policy.ms} ${model.driver?.id ?? ""}` : "";
  for (const known of since.keys()) if (known.startsWith("clock ") && known !== key) since.delete(known);
  if (!waits) return;
  const begun = since.get(key) ?? now;
  since.set(key, begun);
  holds(
    now - Math.max(begun, from) <= policy.ms + slackMs,
    "B28",
    () => `a question has waited ${now - begun} ms for nobody, under a policy of ${policy.ms} ms`,
  );
}

/** Nothing waits for ever. */
function overdue(world: World, session: SimSession): void {
  const fault = world.boot.host.inMemory(session.id)?.log.room.fault;
  if (world.draining || fault !== undefined || !world.quiet || session.view.last !== session.model.seq) return;
  const from = Math.max(world.bootedAt, session.writableSince);
  const now = world.time.running;
  const { seat_grace_ms, driver_request_ms } = world.limits;
  const { model } = session;
  const next = model.queue.find(({ held }) => !held);
  holds(world.draining || model.turn !== null || next === undefined || !model.live, "B22", () => `${next?.id ?? ""} waits, and nothing runs`);
  for (const seat of model.seats.values()) {
    const there = [...session.seats.values()].some(({ seatId, connected }) => seatId === seat.id && connected);
    const coming = [...session.seats.values()].some(({ connected, streaming }) => connected && !streaming);
    holds(!seat.connected || there || coming, "B15", () => `${seat.label} is shown as there, and is not`);
    const lost = session.since.get(seat.id);
    if (!seat.connected && lost !== undefined)
      holds(now - Math.max(lost, from) <= seat_grace_ms + slackMs, "B15", () => `${seat.label} has been away for ${now - lost} ms, and has its seat still`);
  }
  unanswered(world, session, from);
  if (session.model.driver?.connected !== true) return;
  for (const id of session.model.requests.keys()) {
    const asked = session.since.get(`request ${id}`);
    if (asked !== undefined) holds(now - Math.max(asked, from) <= driver_request_ms + slackMs, "B16", () => `a request has been open for ${now - asked} ms`);
  }
}

import type { VerbOutput } from "@sessiond/shared";
import type { Action } from "./actions.ts";
import { callSession, goodTokens, keepToken, living, present } from "./calls.ts";
import type { SimSession } from "./records.ts";
import { holds } from "./violation.ts";
import { linkedWorkdir, workdirs } from "./workdirs.ts";
import type { World } from "./world.ts";

/** Sessions begin, end, begin again; tokens come and go. */
type Started = VerbOutput<"start_session">;

const sessionsMax = 6;
const made = (world: World, prefix: string): string => `${prefix}_${String(world.number()).padStart(22, "0")}`;

function started(world: World, { session: info, token, token_id, created }: Started, requestId: string | undefined): SimSession {
  const known = world.sessions.find(({ id }) => id === info.session_id);
  holds(known?.gone !== true, "B13", () => `${info.session_id} was deleted, and is there`);
  holds((workdirs as readonly string[]).includes(info.workdir), "B9", () => `a session of ${info.workdir}, which is another name`);
  const session = known ?? world.newSession({ id: info.session_id, workdir: info.workdir, stable: info.stable, requestId });
  if (info.stable) {
    const other = present(world).find((each) => each.stable && each.workdir === info.workdir && each !== session);
    // One that was never used may have been deleted, and this is its first successor.
    holds(
      other === undefined || world.boot.host.entry(other.id) === undefined,
      "B10",
      () => `${info.workdir} has two sessions: ${other?.id ?? ""} and ${session.id}`,
    );
  }
  if (created && requestId === undefined) {
    holds(!session.created.has(info.life), "B10", () => `life ${info.life} of ${info.workdir} was created twice`);
    session.created.add(info.life);
  }
  keepToken(session, token, {
    token_id,
    right: "control",
    label: requestId ?? "start",
    life: info.life,
    origin: "start",
    created_at: world.time.wall,
    last_used_at: world.time.wall,
  });
  const { view } = session;
  view.refresh();
  // Who joins is shown how it is; who begins a life is told that it has begun.
  if (created && info.seq <= view.last && view.frame(info.seq)?.event.type === "session_started") world.acknowledged(session, info.seq, "a start");
  view.settled = Math.max(view.settled, info.seq);
  return session;
}

function startOrGet(world: World, workdir: string, name: string, told: (session: SimSession | null) => void = () => undefined): void {
  const options = { agent: world.pick(["park", "park", "plain"]), ...(world.odds(0.3) && { policy: { type: "reject_after", ms: 20_000 } }) };
  world.call<Started>("start_or_get_for_workdir", { workdir, ...options }, { host_key: world.hostKey }, (outcome) => {
    if ("code" in outcome) {
      hostRefused(world, "start_or_get_for_workdir", outcome);
      return told(null);
    }
    const session = started(world, outcome.ok, undefined);
    world.hit(name);
    told(session);
  });
}

function hostRefused(world: World, verb: "start_or_get_for_workdir" | "start_session", { code, error }: { code: string; error: Error }): void {
  world.told.push(`  ${verb}: ${code}`);
  holds(
    (code === "storage_failed" && world.faults.failed) ||
      (code === "session_faulted" && world.faults.failed) ||
      code === "not_found" ||
      (code === "shutting_down" && world.draining),
    "B38",
    () => `${verb} was refused with ${code}: ${error.stack ?? ""}`,
  );
}

function beginAgain(world: World, session: SimSession, requestId: string, name: string): void {
  world.call<Started>("start_session", { request_id: requestId, session_id: session.id }, { host_key: world.hostKey }, (outcome) => {
    if ("code" in outcome) return outcome.code === "conflict" ? undefined : hostRefused(world, "start_session", outcome);
    started(world, outcome.ok, requestId);
    world.hit(name);
  });
}

export const lifeActions: Action[] = [
  {
    name: "start_or_get",
    weight: 0.3,
    act(world) {
      startOrGet(world, world.pick([...workdirs, linkedWorkdir]) ?? workdirs[0], "start_or_get");
      return true;
    },
  },
  {
    name: "start_or_get_at_once",
    weight: 1.0,
    act(world) {
      const workdir = world.pick(workdirs) ?? workdirs[0];
      const ids = new Set<string>();
      const both = (session: SimSession | null): void => {
        if (session === null) return;
        ids.add(session.id);
        holds(
          ids.size === 1 || [...ids].some((id) => world.boot.host.entry(id) === undefined),
          "B10",
          () => `starts at once on ${workdir} gave ${[...ids].join(" and ")}`,
        );
      };
      startOrGet(world, workdir, "start_or_get_at_once", both);
      startOrGet(world, workdir === "/sim/one" ? linkedWorkdir : workdir, "start_or_get_at_once", both);
      return true;
    },
  },
  {
    name: "start_session",
    weight: 1.9,
    act(world) {
      const others = present(world).filter(({ requestId }) => requestId !== undefined);
      const again = others.length >= sessionsMax - workdirs.length || world.odds(0.5) ? world.pick(others) : undefined;
      const requestId = again?.requestId ?? made(world, "req");
      if (again === undefined && present(world).length >= sessionsMax) return false;
      const workdir = again?.workdir ?? world.pick(workdirs) ?? workdirs[0];
      world.call<Started>("start_session", { request_id: requestId, workdir, agent: "park" }, { host_key: world.hostKey }, (outcome) => {
        if ("code" in outcome) return hostRefused(world, "start_session", outcome);
        holds(
          again === undefined || again.gone || outcome.ok.session.session_id === again.id || world.boot.host.entry(again.id) === undefined,
          "B11",
          () => `a repeated request started another session`,
        );
        // The first reply's token must not lie around.
        for (const token of again?.tokens ?? []) if (token.record.label === requestId && token.record.origin === "start") token.ended = "maybe";
        started(world, outcome.ok, requestId);
        world.hit("start_session");
      });
      for (const token of again?.tokens ?? [])
        if (token.record.label === requestId && token.record.origin === "start" && token.ended === "no") token.ended = "maybe";
      return true;
    },
  },
  {
    name: "start_again",
    weight: 4.0,
    act(world) {
      const session = world.pick(present(world).filter(({ model, view }) => !model.live && view.last > 0));
      if (session === undefined) return false;
      beginAgain(world, session, made(world, "req"), "start_again");
      return true;
    },
    otherwise: "stop",
  },
  {
    name: "stop",
    weight: 1.2,
    act(world) {
      const session = world.pick(living(world));
      if (session === undefined) return false;
      const token = world.odds(0.5) ? world.pick(goodTokens(world, session)) : undefined;
      session.stopAsked = true;
      callSession(world, session, "stop", {}, token === undefined ? {} : { token }, {
        ok: ({ seq, life }) => {
          const event = session.view.frame(seq)?.event;
          holds(
            event === undefined || (event.type === "session_stopped" && event.life === life),
            "B35",
            () => `stop was answered with frame ${seq}, which is ${event?.type ?? ""}`,
          );
          world.hit("stop");
        },
      });
      return true;
    },
    otherwise: "start_or_get",
  },
];

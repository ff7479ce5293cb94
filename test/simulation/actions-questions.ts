import type { Approval } from "@sessiond/shared";
import type { Action } from "./actions.ts";
import { driven } from "./actions-prompts.ts";
import { actor, driverOf } from "./actions-seats.ts";
import { callSession, living } from "./calls.ts";
import type { SimSession } from "./records.ts";
import type { SeatClient } from "./seat-client.ts";
import { holds } from "./violation.ts";
import type { World } from "./world.ts";

/** Questions are answered: once, twice, too late; and what is remembered of it is forgotten. */
const asking = (world: World): SimSession | undefined =>
  world.pick(living(world).filter((each) => each.model.approvals.size > 0 && driverOf(each) !== undefined));

const answers = ["allow_once", "allow_once", "allow_turn", "allow_session", "allow_always", "reject_once", "reject_always"] as const;

function answer(world: World, session: SimSession, seat: SeatClient, approval: Approval, option: string, told: (outcome: string) => void): void {
  callSession(
    world,
    session,
    "approve",
    { approval_id: approval.approval_id, option_id: option, digest: approval.digest },
    { seat },
    {
      ok: ({ seq }) => {
        const event = session.view.frame(seq)?.event;
        const mine = event?.type === "approval_resolved" && event.approval_id === approval.approval_id && event.option_id === option;
        // One that leaves a rule of the session behind is answered with the rule's frame.
        holds(
          event === undefined || mine || event.type === "rule_added",
          "B26",
          () => `an answer was acknowledged with frame ${seq}: ${JSON.stringify(event)}`,
        );
        told("ok");
      },
      refused: told,
    },
  );
}

export const questionActions: Action[] = [
  {
    name: "approve",
    weight: 2.5,
    act(world) {
      const session = asking(world);
      const approval = session === undefined ? undefined : world.pick([...session.model.approvals.values()]);
      const seat = session === undefined ? undefined : actor(world, session);
      if (session === undefined || approval === undefined || seat === undefined) return false;
      const offered = approval.options.map(({ option_id }) => option_id);
      const option = world.pick(answers.filter((each) => offered.includes(each))) ?? "allow_once";
      answer(world, session, seat, approval, option, (outcome) => outcome === "ok" && world.hit("approve"));
      return true;
    },
    otherwise: "agent_tools",
  },
  {
    name: "approve_twice",
    weight: 7.5,
    act(world) {
      const session = asking(world);
      const approval = session === undefined ? undefined : world.pick([...session.model.approvals.values()]);
      const seat = session === undefined ? undefined : driverOf(session);
      if (session === undefined || approval === undefined || seat === undefined) return false;
      let taken = 0;
      const told = (outcome: string): void => {
        if (outcome === "ok") taken += 1;
        holds(taken < 2, "B26", () => `two answers to ${approval.approval_id} were taken`);
        if (outcome === "approval_gone") world.hit("approve_twice");
      };
      answer(world, session, seat, approval, "allow_once", told);
      answer(world, session, seat, approval, "reject_once", told);
      return true;
    },
    otherwise: "agent_tools",
  },
  {
    name: "approve_what_is_closed",
    weight: 3.2,
    act(world) {
      const who = driven(world, ({ model }) => model.resolved.size > 0);
      const id = who === undefined ? undefined : world.pick([...who.session.model.resolved.keys()]);
      if (who === undefined || id === undefined) return false;
      const closed = { approval_id: id, digest: "0".repeat(64) } as Approval;
      answer(world, who.session, who.seat, closed, "allow_once", (outcome) => {
        holds(outcome !== "ok" && outcome !== "conflict", "B26", () => `an answer to the closed ${id}: ${outcome}`);
        if (outcome === "approval_gone") world.hit("approve_what_is_closed");
      });
      return true;
    },
    otherwise: "agent_tool",
  },
  {
    name: "allow_for_session",
    weight: 4.8,
    act(world) {
      const session = asking(world);
      const approval = [...(session?.model.approvals.values() ?? [])].find(({ pattern }) => pattern !== undefined);
      const seat = session === undefined ? undefined : driverOf(session);
      if (session === undefined || approval === undefined || seat === undefined) return false;
      answer(world, session, seat, approval, "allow_session", (outcome) => outcome === "ok" && world.hit("allow_for_session"));
      return true;
    },
    otherwise: "agent_tools",
  },
  {
    name: "forget_rule",
    weight: 7.5,
    act(world) {
      const session = world.pick(living(world).filter(({ model }) => model.rules.size > 0));
      const rule = session === undefined ? undefined : world.pick([...session.model.rules.keys()]);
      if (session === undefined || rule === undefined) return false;
      callSession(world, session, "forget_rule", { rule_id: rule }, {}, { ok: () => world.hit("forget_rule") });
      return true;
    },
    otherwise: "allow_for_session",
  },
];

import { wordsOf, type WhenBusy } from "@sessiond/shared";
import type { Action } from "./actions.ts";
import { actor, driverOf } from "./actions-seats.ts";
import { callSession, goodTokens, living } from "./calls.ts";
import type { SimPrompt, SimSession } from "./records.ts";
import type { SeatClient } from "./seat-client.ts";
import { holds } from "./violation.ts";
import type { World } from "./world.ts";

/** Prompts: sent, sent again, changed, taken back, ended. */
interface Driven {
  readonly session: SimSession;
  readonly seat: SeatClient;
}

/** A session with somebody at the wheel, and who calls: mostly that one. */
export function driven(world: World, wanted: (session: SimSession) => boolean = () => true): Driven | undefined {
  const session = world.pick(living(world).filter((each) => driverOf(each) !== undefined && wanted(each)));
  const seat = session === undefined ? undefined : actor(world, session);
  return session === undefined || seat === undefined ? undefined : { session, seat };
}

const parts = (text: string): { type: "text"; text: string }[] => [{ type: "text", text }];

function send(world: World, { session, seat }: Driven, prompt: SimPrompt, text: string, whenBusy: WhenBusy, told: (outcome: string) => void): void {
  const first = prompt.answer;
  callSession(
    world,
    session,
    "send_prompt",
    { prompt_id: prompt.id, parts: parts(text), when_busy: whenBusy },
    { seat },
    {
      ok: ({ seq, became }) => {
        const frame = session.view.frame(seq);
        holds(
          frame === undefined || (frame.event.type === "prompt_accepted" && frame.event.prompt_id === prompt.id),
          "B18",
          () => `${prompt.id} was answered with frame ${seq}: ${JSON.stringify(frame)}`,
        );
        holds(
          first === undefined || (first.seq === seq && first.became === became),
          "B21",
          () => `a repeat of ${prompt.id} was answered with ${seq} ${became}, before with ${first?.seq ?? 0} ${first?.became ?? ""}`,
        );
        prompt.answer = { seq, became };
        told("ok");
      },
      refused: (code) => told(code),
    },
  );
}

const prompting = (name: string, whenBusy: WhenBusy, weight: number): Action => ({
  name,
  weight,
  act(world) {
    const who = driven(world, ({ prompts }) => prompts.size < 200);
    if (who === undefined) return false;
    const number = world.number();
    const text = `prompt ${number}`;
    const prompt: SimPrompt = { id: `prm_${String(number).padStart(22, "0")}`, text, answer: undefined };
    who.session.prompts.set(prompt.id, prompt);
    send(world, who, prompt, text, whenBusy, (outcome) => {
      if (outcome === "ok" || (whenBusy === "reject" && outcome === "turn_in_progress") || (whenBusy === "steer" && outcome === "unsupported")) world.hit(name);
    });
    return true;
  },
  otherwise: "attach_driver",
});

const queued = (session: SimSession): string[] => session.model.queue.map(({ id }) => id);

export const promptActions: Action[] = [
  prompting("prompt_queue", "queue", 0.3),
  prompting("prompt_steer", "steer", 2.6),
  prompting("prompt_interrupt", "interrupt", 2.3),
  prompting("prompt_reject", "reject", 2.5),
  {
    name: "repeat_prompt",
    weight: 2.4,
    act(world) {
      const who = driven(world, ({ prompts }) => [...prompts.values()].some(({ answer: first }) => first !== undefined));
      const prompt = world.pick([...(who?.session.prompts.values() ?? [])].filter(({ answer: first }) => first !== undefined));
      if (who === undefined || prompt === undefined) return false;
      // The first content counts, also where it was edited since.
      const accepted = who.session.view.frame(prompt.answer?.seq ?? 0)?.event;
      if (accepted?.type !== "prompt_accepted") return false;
      send(world, who, prompt, wordsOf(accepted.parts), "queue", (outcome) => {
        holds(outcome !== "conflict", "B21", () => `a repeat of ${prompt.id} with the same content is a conflict`);
        if (outcome === "ok") world.hit("repeat_prompt");
      });
      return true;
    },
    otherwise: "prompt_queue",
  },
  {
    name: "repeat_with_other_content",
    weight: 2.3,
    act(world) {
      const who = driven(world, ({ prompts }) => [...prompts.values()].some(({ answer: first }) => first !== undefined));
      const prompt = world.pick([...(who?.session.prompts.values() ?? [])].filter(({ answer: first }) => first !== undefined));
      if (who === undefined || prompt === undefined) return false;
      send(world, who, prompt, "something else", "queue", (outcome) => {
        holds(outcome !== "ok", "B21", () => `${prompt.id} was accepted with another content`);
        if (outcome === "conflict") world.hit("repeat_with_other_content");
      });
      return true;
    },
    otherwise: "prompt_queue",
  },
  {
    name: "edit_prompt",
    weight: 4.2,
    act(world) {
      const who = driven(world, (session) => queued(session).length > 0);
      const id = who === undefined ? undefined : world.pick(queued(who.session));
      if (who === undefined || id === undefined) return false;
      const text = `edited ${world.number()}`;
      callSession(
        world,
        who.session,
        "edit_prompt",
        { prompt_id: id, parts: parts(text) },
        { seat: who.seat },
        { ok: () => world.hit("edit_prompt"), refused: (code) => code === "prompt_gone" && world.hit("edit_prompt") },
      );
      return true;
    },
    otherwise: "prompt_queue",
  },
  {
    name: "withdraw_prompt",
    weight: 4.2,
    act(world) {
      const who = driven(world, (session) => queued(session).length > 0);
      const id = who === undefined ? undefined : world.pick(queued(who.session));
      if (who === undefined || id === undefined) return false;
      callSession(
        world,
        who.session,
        "withdraw_prompt",
        { prompt_id: id },
        { seat: who.seat },
        {
          ok: ({ seq }) => {
            const event = who.session.view.frame(seq)?.event;
            holds(
              event === undefined || (event.type === "prompt_withdrawn" && event.prompt_id === id),
              "B23",
              () => `a withdrawal was answered with ${JSON.stringify(event)}`,
            );
            world.hit("withdraw_prompt");
          },
        },
      );
      return true;
    },
    otherwise: "prompt_queue",
  },
  {
    name: "release_queue",
    weight: 2.2,
    act(world) {
      const who = driven(world, ({ model }) => model.queue.some(({ held }) => held)) ?? driven(world);
      if (who === undefined) return false;
      callSession(world, who.session, "release_queue", {}, { seat: who.seat }, { ok: () => world.hit("release_queue") });
      return true;
    },
    otherwise: "attach_driver",
  },
  {
    name: "interrupt",
    weight: 2.4,
    act(world) {
      const session = world.pick(living(world).filter(({ model }) => model.turn !== null));
      if (session === undefined) return false;
      const turnId = session.model.turn?.id ?? "";
      const token = world.odds(0.5) ? world.pick(goodTokens(world, session)) : undefined;
      callSession(world, session, "interrupt", { turn_id: turnId }, token === undefined ? {} : { token }, {
        ok: ({ interrupted, seq }) => {
          const ended = interrupted && session.view.last >= seq ? session.view.frame(seq) : undefined;
          holds(!interrupted || ended === undefined || session.view.last >= seq, "B22", () => "an interrupt that left nothing");
          world.hit("interrupt");
        },
      });
      return true;
    },
    otherwise: "prompt_queue",
  },
];

import { SessiondError, type ContentPart } from "@sessiond/shared";
import type { Agent, AgentContext, AgentKind, AgentTurn } from "../agent.ts";
import { ServedTurn } from "./served-turn.ts";
import { goneWords, type Offer, type Serving } from "./serving.ts";

/**
 * An agent that a program serves. A session keeps the agent that it once made of a kind while programs of that name come
 * and go, so it looks at each turn who serves it now.
 *
 * @param current  who serves the name at this moment
 */
export function servedKind({ agent: name, default_model = "", models, steer = false, images = false }: Offer, current: () => Serving | undefined): AgentKind {
  const capabilities = { park: false, steer, images };
  return {
    name,
    defaultModel: default_model,
    // It is told with each turn which one is chosen.
    modelIsSetting: true,
    knowsModel: (model) => models === undefined || model === default_model || models.includes(model),
    info: () => ({ name, kind: "served", default_model, models: models ?? null, modes: [], capabilities, unavailable: null }),
    create: (context) => servedAgent(name, current, context),
  };
}

function servedAgent(name: string, current: () => Serving | undefined, context: AgentContext): Agent {
  let running: ServedTurn | null = null;

  function prompt(parts: readonly ContentPart[], turn: AgentTurn) {
    const serving = current();
    // It was there when the prompt was taken on. The turn fails with it.
    if (serving === undefined) throw new SessiondError("agent_unavailable", { reason: goneWords(name) });
    running = new ServedTurn(serving, turn, context);
    return running.run(parts);
  }

  return {
    get capabilities() {
      return { park: false, steer: current()?.offer.steer ?? false };
    },
    unavailable: () => (current() === undefined ? goneWords(name) : null),
    refuses: (parts) => (current()?.offer.images === true || parts.every(({ type }) => type !== "image") ? null : `the agent ${name} takes no pictures`),
    prompt,
    resume: () => {
      throw new Error("a turn of a served agent is never parked");
    },
    chosenChanged: () => running?.chosenChanged(),
    // The program is its own: it is let go of, and has been told to cancel.
    close: () => {
      running?.forget();
      return Promise.resolve();
    },
  };
}

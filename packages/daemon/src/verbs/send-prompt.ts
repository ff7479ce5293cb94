import { actorOf } from "./of-session.ts";
import type { Handler } from "./verb.ts";

export const sendPrompt: Handler<"send_prompt"> = ({ input, grant }) =>
  grant.session.queue.send({ promptId: input.prompt_id, parts: input.parts, whenBusy: input.when_busy, by: actorOf(grant) }, () => grant.mustStand());

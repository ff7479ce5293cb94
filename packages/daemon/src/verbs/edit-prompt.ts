import { actorOf } from "./of-session.ts";
import type { Handler } from "./verb.ts";

export const editPrompt: Handler<"edit_prompt"> = async ({ input, grant }) => ({
  seq: await grant.session.queue.edit(input.prompt_id, input.parts, actorOf(grant)),
});

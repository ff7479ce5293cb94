import { actorOf } from "./of-session.ts";
import type { Handler } from "./verb.ts";

export const withdrawPrompt: Handler<"withdraw_prompt"> = async ({ input, grant }) => ({
  seq: await grant.session.queue.withdraw(input.prompt_id, actorOf(grant)),
});

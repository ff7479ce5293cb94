import { actorOf } from "./of-session.ts";
import type { Handler } from "./verb.ts";

export const addSystemMessage: Handler<"add_system_message"> = async ({ input, grant }) => ({ seq: await grant.session.note(input.text, actorOf(grant)) });

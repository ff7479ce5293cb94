import { actorOf } from "./of-session.ts";
import type { Handler } from "./verb.ts";

export const releaseQueue: Handler<"release_queue"> = ({ grant }) => grant.session.queue.release(actorOf(grant));

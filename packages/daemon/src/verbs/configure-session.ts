import { actorOf } from "./of-session.ts";
import type { Handler } from "./verb.ts";

export const configureSession: Handler<"configure_session"> = ({ input: { title, starred, model, policy }, grant }) =>
  grant.session.configure({ title, starred, model, policy }, actorOf(grant));

import { actorOf } from "./of-session.ts";
import type { Handler } from "./verb.ts";

export const configureSession: Handler<"configure_session"> = ({ input: { session_id: _session, ...settings }, grant }) =>
  grant.session.configure(settings, actorOf(grant));

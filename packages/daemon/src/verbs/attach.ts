import { SessiondError } from "@sessiond/shared";
import { joinedSignal } from "../joined-signal.ts";
import { attach as attachTo, watch } from "../session/attach.ts";
import { liveOf } from "./of-session.ts";
import type { Handler } from "./verb.ts";

const seatSecretPattern = /^[0-9A-Za-z_-]{22,64}$/;

export const attach: Handler<"attach"> = async function* ({ input, grant, daemon, reader }) {
  const { entry, credentials, token, seatSecret } = grant;
  if (seatSecret === undefined || !seatSecretPattern.test(seatSecret))
    throw new SessiondError("bad_request", { reason: "auth.seat_secret must be 22 to 64 URL-safe characters, made by the client" });
  const cursor = input.lastEventId ?? input.cursor;
  const held = credentials.tokens.stream(token.token_id);
  const { signal, release } = joinedSignal(reader.signal, held.signal);
  try {
    const session = await liveOf(daemon, entry);
    if (session === null) {
      if (input.role === "driver") throw new SessiondError("session_stopped");
      const log = await daemon.host.stoppedLog(entry.id);
      try {
        yield* watch(log, null, cursor, signal, reader);
      } finally {
        await log.close();
      }
      return;
    }
    // Who comes with a cursor had a seat; it does not win back by force what was taken from it meanwhile.
    const force = input.force !== undefined && cursor === undefined;
    const request = {
      role: input.role,
      label: input.label,
      fallback: input.fallback !== undefined,
      force,
      secret: seatSecret,
      token,
      cursor,
    };
    yield* attachTo(session, request, { signal, ready: () => reader.ready() });
  } finally {
    release();
    held.release();
  }
};

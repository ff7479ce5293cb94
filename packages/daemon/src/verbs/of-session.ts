import { isSessiondError, SessiondError, type Actor } from "@sessiond/shared";
import type { HostGrant, SeatGrant, TokenGrant } from "../gate.ts";
import type { RegistryEntry } from "../host/registry-file.ts";
import type { Tokens } from "../host/tokens.ts";
import type { Session } from "../session/session.ts";
import type { SessionFacts, SessionLog } from "../session/session-log.ts";
import type { Daemon } from "./verb.ts";

/** Ways from a call to what it names, shared by handlers. */

/** How the caller appears in frames. */
export function actorOf(grant: HostGrant | TokenGrant | SeatGrant): Actor {
  switch (grant.kind) {
    case "host":
      return grant.actor;
    case "token":
      return { label: grant.token.label };
    case "seat":
      return { seat_id: grant.seat.seat_id, label: grant.seat.label };
  }
}

/** @throws SessiondError not_found */
export async function tokensOf(daemon: Daemon, grant: HostGrant | TokenGrant, sessionId: string): Promise<{ entry: RegistryEntry; tokens: Tokens }> {
  if (grant.kind === "token") return { entry: grant.entry, tokens: grant.credentials.tokens };
  const entry = daemon.host.entry(sessionId);
  if (entry === undefined) throw new SessiondError("not_found", { what: "session" });
  return { entry, tokens: (await daemon.host.credentials.of(entry)).tokens };
}

/** The session's log: of the live session, woken if need be, or a stopped one's, read for this call. @throws SessiondError not_found */
export async function withLog<T>(daemon: Daemon, sessionId: string, use: (log: SessionLog, facts: SessionFacts) => Promise<T>): Promise<T> {
  const entry = daemon.host.entry(sessionId);
  if (entry === undefined) throw new SessiondError("not_found", { what: "session" });
  const facts = await daemon.host.facts(entry);
  const session = await liveOf(daemon, entry);
  if (session === null) {
    const { life } = daemon.host.life(entry);
    const log = await daemon.host.stoppedLog(sessionId);
    try {
      return await use(log, facts);
    } catch (error) {
      const now = daemon.host.life(daemon.host.entry(sessionId) ?? entry);
      if (now.stopped && now.life === life) throw error;
    } finally {
      await log.close();
    }
    // Its next life has begun meanwhile, and may have compacted what was being read: that is no failure of the disk.
    return withLog(daemon, sessionId, use);
  }
  // Like a reader's place, but in nobody's way: whoever stops the session lets go of its files after this.
  const standing = session.log.room.stand(Number.POSITIVE_INFINITY, false);
  try {
    return await use(session.log, facts);
  } finally {
    session.log.room.leave(standing);
  }
}

/** The session, woken if need be; null when its life is over, also where only its journal knew of that. @throws SessiondError not_found, storage_failed, shutting_down */
export async function liveOf({ host }: Daemon, entry: RegistryEntry): Promise<Session | null> {
  if (host.life(entry).stopped) return null;
  return host.session(entry.id).catch((error: unknown) => {
    if (isSessiondError(error, "session_stopped")) return null;
    throw error;
  });
}

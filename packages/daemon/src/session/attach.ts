import { SessiondError, type AttachItem, type Role, type SessionState } from "@sessiond/shared";
import { joinedSignal } from "../joined-signal.ts";
import type { RoomBatch } from "../room/room.ts";
import type { Session } from "./session.ts";
import type { Sitter } from "./seat-places.ts";
import type { SessionLog } from "./session-log.ts";

/**
 * A client's stream: its seat, then snapshot or `resumed`, then every frame.
 *
 * The seat's frame is shown before the snapshot is taken, and snapshot and cursor come from one
 * synchronous step, so nothing falls between them.
 */
export interface AttachRequest {
  readonly role: Role;
  readonly label: string;
  readonly fallback: boolean;
  readonly force: boolean;
  readonly secret: string;
  readonly token: Sitter;
  readonly cursor: string | undefined;
}

export interface Reader {
  /** Aborts when the client has gone, or with a SessiondError as reason when its token has ended. */
  readonly signal: AbortSignal;
  /** Resolves when the client's socket has room. */
  ready(): Promise<void>;
}

export type AttachOutput = Exclude<AttachItem, { type: "batch" }> | ({ readonly type: "batch" } & RoomBatch);

/** @throws SessiondError driver_taken, not_attached, session_stopped, session_faulted, storage_failed, moved, token_ended, shutting_down */
export async function* attach(session: Session, request: AttachRequest, reader: Reader): AsyncGenerator<AttachOutput> {
  const faulted = session.log.room.fault !== undefined;
  if (faulted && request.role === "driver" && session.seats.find(request.secret, request.token.token_id) === undefined)
    throw new SessiondError("session_faulted", { reason: session.log.room.fault?.reason });
  // On a faulted session a new viewer writes no frame, and so has no seat.
  if (faulted && session.seats.find(request.secret, request.token.token_id) === undefined) {
    yield* watch(session.log, null, request.cursor, reader.signal, reader);
    return;
  }
  const { seatId, seq, stream } = await session.seats.take(request, reader.signal);
  const { signal, release } = joinedSignal(reader.signal, stream.signal);
  try {
    // A seat resumed without a frame may have one of its first connection under way.
    await session.log.room.shown(seq === 0 ? session.state.seq : seq);
    // The token may have ended before anyone could find this seat by it.
    if (reader.signal.reason instanceof SessiondError) session.seats.tokensEnded([request.token.token_id], reader.signal.reason);
    yield* watch(session.log, seatId, request.cursor, signal, reader);
  } finally {
    release();
    session.seats.lost(seatId, stream);
  }
}

/** Frames of a log from a cursor, or from a snapshot on; without taking a seat. */
export async function* watch(
  log: SessionLog,
  seatId: string | null,
  cursor: string | undefined,
  signal: AbortSignal,
  reader: Reader,
): AsyncGenerator<AttachOutput> {
  if (signal.reason instanceof SessiondError) throw signal.reason;
  const { room } = log;
  const refused = cursor === undefined ? null : room.judge(cursor);
  const state: SessionState = log.shown.state;
  const seat = state.seats.find((taken) => taken.seat_id === seatId) ?? null;
  const told = room.fault;
  const fault = told === undefined ? {} : { fault: told };
  const from = cursor !== undefined && refused === null ? Number(cursor.split(":")[1]) : state.seq;
  const standing = room.stand(from);
  try {
    if (cursor !== undefined && refused === null) yield { type: "resumed", cursor, head: room.head, seat, ...fault };
    else yield { type: "snapshot", cursor: room.cursor(from), head: room.head, seat, snapshot: state, ...fault, ...(refused !== null && { reset: refused }) };
    for await (const batch of room.read(standing, signal, { ready: () => reader.ready(), told })) yield { type: "batch", ...batch };
  } finally {
    room.leave(standing);
  }
}

/** A seat of the client library at a scripted peer, and ways to wait for it and to read it. */
import { expect } from "vitest";
import { Connection, Door, Session, type DriverSeat, type SeatEvent, type ViewerSeat } from "@sessiond/client";
import { unixSocket } from "@sessiond/client/node";
import type { SessiondError } from "@sessiond/shared";
import { sessionId, snapshotAt, token, type PeerRequest, type WirePeer } from "./wire-peer.ts";

export interface Attached {
  readonly peer: WirePeer;
  readonly session: Session;
  readonly seat: DriverSeat;
  readonly request: PeerRequest;
  /** How often a daemon was started. */
  readonly starts: () => number;
}

/** A driver at seq 10, and the peer's end of its stream. */
export async function attached(peer: WirePeer, item = snapshotAt(10)): Promise<Attached> {
  let started = 0;
  const door = new Door({ dial: unixSocket(peer.socket), start: async () => void started++ });
  const session = new Session(sessionId, { calls: new Connection(door), token, workdir: "/w", clientName: "test", ownCalls: true });
  const attaching = session.attach({ as: "driver" });
  const request = await attach(peer);
  await request.item(item);
  return { peer, session, seat: await attaching, request, starts: () => started };
}

/** The next connection's `attach`, begun. */
export async function attach(peer: WirePeer): Promise<PeerRequest> {
  const request = await (await peer.sockets.next()).requests.next();
  expect(request.verb).toBe("attach");
  request.started();
  return request;
}

export async function until(seat: ViewerSeat, holds: () => boolean): Promise<void> {
  while (!holds()) {
    if (seat.connection === "ended") throw new Error("the seat ended before that");
    await seat.changed();
  }
}

export const atSeq = (seat: ViewerSeat, seq: number): Promise<void> => until(seat, () => seat.state.seq >= seq);
export const seqOf = (event: SeatEvent): number => (event.type === "frame" ? event.frame.seq : event.state.seq);

/** So many events, or fewer where they end before. */
export async function take(events: AsyncIterator<SeatEvent>, count: number): Promise<SeatEvent[]> {
  const taken: SeatEvent[] = [];
  while (taken.length < count) {
    const { done, value } = await events.next();
    if (done === true) break;
    taken.push(value);
  }
  return taken;
}

export const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, index) => from + index);

export const failure = (work: Promise<unknown>): Promise<SessiondError> =>
  work.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: unknown) => error as SessiondError,
  );

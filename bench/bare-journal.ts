import { limits, type SessionEvent } from "@sessiond/shared";
import { systemClock } from "../packages/daemon/src/clock.ts";
import { countedDisk } from "../packages/daemon/src/counted-disk.ts";
import { Counters } from "../packages/daemon/src/counters.ts";
import { realDisk } from "../packages/daemon/src/disk.ts";
import { Journal } from "../packages/daemon/src/room/journal.ts";
import { Room } from "../packages/daemon/src/room/room.ts";
import { SessionLog } from "../packages/daemon/src/session/session-log.ts";

/** The daemon's own journal on the real disk, with the room behind it and nothing above it: segments, index, compaction and window are in it, sessions and sockets are not. */
export class BareJournal {
  readonly #journal: Journal;
  #seq = 0;

  private constructor(journal: Journal) {
    this.#journal = journal;
  }

  static async open(directory: string): Promise<BareJournal> {
    let room: Room | undefined;
    const fold = { restore: () => true, visit: () => undefined, snapshot: () => ({}) };
    const { journal } = await Journal.open(
      { disk: countedDisk(realDisk(), new Counters()), directory, limits, now: () => systemClock.now(), report: fail },
      { fold, events: { written: (frames) => room?.publish(frames), failed: fail, snapshot: () => ({}) }, setAside: () => undefined },
    );
    room = new Room(journal, 0, limits);
    journal.compactBehind(room);
    return new BareJournal(journal);
  }

  /** Durable when it resolves. */
  batch(texts: readonly string[]): Promise<void> {
    for (const text of texts) this.#journal.append({ seq: ++this.#seq, text });
    return this.#journal.durable(this.#seq);
  }

  close(): Promise<void> {
    return this.#journal.close();
  }
}

/** A session's whole log: what the journal is given is validated, numbered, encoded and folded before. */
export async function openLog(directory: string, sessionId = `ses_${"0".repeat(22)}`): Promise<SessionLog> {
  const { log } = await SessionLog.open({
    sessionId,
    directory,
    disk: countedDisk(realDisk(), new Counters()),
    clock: systemClock,
    setAside: () => undefined,
    counters: new Counters(),
    limits,
    report: fail,
  });
  return log;
}

/** Durable when it resolves. */
export function applyAll(log: SessionLog, events: readonly SessionEvent[]): Promise<void> {
  for (const event of events) log.apply(event);
  return log.durable(log.decided.state.seq);
}

function fail(error: unknown): never {
  throw error;
}

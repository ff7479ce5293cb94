import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { ChildProcess } from "node:child_process";
import type { Host, Session } from "@sessiond/client";
import { DaemonHome } from "../test/support/daemon-home.ts";
import { plainRequest, samplesOf } from "../test/support/plain-http.ts";
import { RawReader } from "../test/support/raw-reader.ts";

/** A home whose daemon is asked for its counters, before something and after it; and what it read can be compared with what there is. */
export type Counted = Readonly<Record<"read" | "written" | "encoded" | "decoded" | "sent", number>>;

const names: Readonly<Record<keyof Counted, string>> = {
  read: "sessiond_journal_read_bytes_total",
  written: "sessiond_journal_written_bytes_total",
  encoded: "sessiond_frames_encoded_total",
  decoded: "sessiond_frames_decoded_total",
  sent: "sessiond_frames_sent_total",
};

export interface Spent extends Counted {
  readonly ms: number;
}

/** So many looks in a row that see the same. */
const quietTimes = 6;

export class CountedHome extends DaemonHome {
  #daemon: ChildProcess | null = null;
  #readers = 0;

  async begin(): Promise<Host> {
    this.#daemon = await this.startByHand();
    return this.connect({ autoStart: false });
  }

  /** @param signal  SIGTERM: every session is put to rest; SIGKILL: what was open stays marked so */
  async end(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    const pid = this.#daemon?.pid;
    this.#daemon?.kill(signal);
    if (pid !== undefined) await this.gone(pid);
  }

  async counted(): Promise<Counted> {
    const key = readFileSync(join(this.stateDir, "host-key"), "utf8").trim();
    const { body } = await plainRequest(this.socket, "/metrics", { authorization: `Bearer ${key}` });
    const values = new Map(samplesOf(body).map(({ name, value }) => [name, value]));
    return Object.fromEntries(Object.entries(names).map(([short, name]) => [short, values.get(name) ?? NaN])) as Counted;
  }

  /** Resolves when nothing is read or written any more: what was filled before is compacted behind the back of whoever comes next. */
  async atRest(): Promise<void> {
    for (let before = await this.counted(), quiet = 0; quiet < quietTimes;) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      const now = await this.counted();
      quiet = now.read === before.read && now.written === before.written ? quiet + 1 : 0;
      before = now;
    }
  }

  /** What a piece of work has cost, in time and counters. */
  async spent(work: () => Promise<unknown>): Promise<Spent> {
    const before = await this.counted();
    const begun = performance.now();
    await work();
    const ms = performance.now() - begun;
    const after = await this.counted();
    const differences = (Object.keys(names) as (keyof Counted)[]).map((name) => [name, after[name] - before[name]]);
    return { ...(Object.fromEntries(differences) as Counted), ms };
  }

  /** A viewer that has its first item. It keeps numbers and nothing else. @throws when it was refused */
  async view(session: Session, cursor?: string): Promise<RawReader> {
    const label = `viewer-${++this.#readers}`;
    const reader = new RawReader({ socketPath: this.socket, sessionId: session.id, token: session.token, label, ...(cursor !== undefined && { cursor }) });
    await reader.until(({ types, error }) => types.length > 0 || error !== null);
    if (reader.error !== null) throw new Error(`a viewer was refused: ${reader.error}`);
    return reader;
  }

  sessionDir(sessionId: string): string {
    return join(this.stateDir, "sessions", sessionId);
  }

  /** Bytes of a journal's segments, oldest first. */
  segmentBytes(sessionId: string): number[] {
    const directory = this.sessionDir(sessionId);
    const segments = readdirSync(directory).filter((name) => /^journal(-\d+)?$/.test(name));
    return segments.toSorted((a, b) => Number(a.slice(8)) - Number(b.slice(8))).map((name) => statSync(join(directory, name)).size);
  }
}

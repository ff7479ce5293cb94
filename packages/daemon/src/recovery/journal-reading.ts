import { isDeepStrictEqual } from "node:util";
import { eventTable, frameSchema, type FindingKind, type Frame, type SessionState } from "@sessiond/shared";
import type { DiskFile } from "../disk.ts";
import { kindOf, type Epoch, type Line } from "../room/journal-file.ts";
import type { Header } from "../room/segment.ts";
import { decide, nothingDecided, type Decided } from "../session/decided.ts";
import { fromSnapshot, snapshotOf } from "../session/decided-snapshot.ts";
import { backup, frameNames, type Findings } from "./finding.ts";

/**
 * What is known of a journal on the way through it, from segment to segment: the last seq, the
 * epochs, and what the frames come to. Judges each head and each line by what came before; what
 * cannot be known any more, behind damage or compaction, is null and judges nothing.
 */
export interface Fault {
  readonly kind: FindingKind;
  readonly what: string;
}

export class JournalReading {
  frames = 0;
  compactedThrough = 0;
  readonly #sessionId: string;
  readonly #epochsKept: number;
  readonly #findings: Findings;
  #path = "";
  #seq: number | null = 0;
  #compacted = false;
  /** Where a compacted segment says that it ends. */
  #through: number | undefined;
  /** `exact` is false behind a compacted segment: of its epochs only the last one's number is left. */
  #epochs: { readonly list: Epoch[]; readonly exact: boolean } | null = { list: [], exact: true };
  #decided: Decided | null;

  constructor(sessionId: string, epochsKept: number, findings: Findings) {
    this.#sessionId = sessionId;
    this.#epochsKept = epochsKept;
    this.#findings = findings;
    this.#decided = nothingDecided(sessionId);
  }

  get state(): SessionState | null {
    return this.#decided?.state ?? null;
  }

  /** A segment could not be read: what follows is judged by itself. */
  lose(): void {
    this.#seq = null;
    this.#epochs = null;
    this.#decided = null;
  }

  /** A segment begins. @param newest  it is the one that goes on */
  begin(path: string, header: Header, newest: boolean): void {
    this.#path = path;
    this.#continues(header);
    this.#seq = header.after;
    this.#compacted = header.compacted;
    this.#through = header.through;
    if (header.end > 0) this.#headEpochs(header);
    if (header.compacted) this.#decided = null;
    else if (header.after > 0) this.#snapshot(header);
    if (header.compacted && newest)
      this.#findings.wrong("segment_missing", {
        path,
        line: 1,
        what: "it is compacted, so there were newer segments, and they are gone",
        mend: backup,
        next_start: "the session goes on behind what is left, in a new segment",
      });
  }

  /** @returns what is wrong with a line as it follows what came before; null, and it counts, when nothing is */
  async take(file: DiskFile, line: Line, number: number): Promise<Fault | null> {
    const kind = kindOf(line);
    if (kind === null) return line.whole ? { kind: "line_malformed", what: "this line cannot be read" } : { kind: "line_torn", what: "this line has no end" };
    if ("epoch" in kind) return this.#epoch(kind.epoch);
    const { frame } = kind;
    if (this.#epochs?.list.length === 0) return { kind: "epoch_wrong", what: `frame ${frame.seq} stands before any epoch record` };
    const seq = this.#seq ?? frame.seq - 1;
    if (this.#compacted ? frame.seq <= seq : frame.seq !== seq + 1) return this.#outOfOrder(seq, frame.seq);
    this.#seq = frame.seq;
    this.frames += 1;
    const place = { path: this.#path, line: number, offset: line.offset };
    if (line.text.includes("\ufffd") && !(await isExact(file, line)))
      this.#findings.wrong("frame_invalid", {
        ...place,
        what: `frame ${frame.seq} holds bytes that are no text`,
        mend: backup,
        next_start: "it is taken without them",
      });
    this.#judge(frame, place);
    return null;
  }

  /** A bad line of a sealed segment was passed over. */
  pass(line: Line): void {
    const kind = kindOf(line);
    this.#decided = null;
    if (kind === null) this.#seq = null;
    else if ("frame" in kind && kind.frame.seq > (this.#seq ?? 0)) {
      this.#seq = kind.frame.seq;
      this.frames += 1;
    }
  }

  /** That a segment begins where the one before it ended. */
  #continues({ after }: Header): void {
    const seq = this.#seq;
    if (this.#compacted) this.compactedThrough = after;
    if (seq === null || seq === after) return;
    if (seq > after)
      this.#findings.wrong("seq_hole", {
        path: this.#path,
        line: 1,
        what: `it begins behind frame ${after}, and the segment before it ends with frame ${seq}`,
        mend: backup,
      });
    // What was compacted may have lost its last frames, and says itself how far it reached.
    const reached = this.#compacted ? (this.#through ?? after) : seq;
    if (seq > after || reached === after) return;
    this.#decided = null;
    this.#findings.wrong("segment_missing", {
      path: this.#path,
      line: 1,
      what: reached > after ? `the segment before it says that it reaches to frame ${reached}` : `${frameNames(reached + 1, after)} missing before it`,
      mend: backup,
      next_start: "the session goes on; who pages back to there gets an error",
    });
  }

  #headEpochs({ after, epochs, compacted }: Header): void {
    if (!this.#fits(epochs, after, compacted))
      this.#findings.wrong("epoch_wrong", {
        path: this.#path,
        line: 1,
        what: "the epochs in its head are not those before it",
        mend: "no frame is lost by it; clients with an old cursor may get a fresh snapshot",
      });
    this.#epochs = { list: [...epochs], exact: !compacted };
  }

  #fits(epochs: readonly Epoch[], after: number, compacted: boolean): boolean {
    const row = epochs.every(({ epoch, after: end }, place) => {
      const before = epochs[place - 1];
      return end <= after && epoch >= 1 && (before === undefined || (epoch === before.epoch + 1 && end >= before.after));
    });
    const known = this.#epochs?.list ?? [];
    const last = known.at(-1);
    const newest = epochs.at(-1);
    if (!row || newest === undefined || last === undefined) return row && newest !== undefined;
    if (compacted || this.#epochs?.exact !== true) return newest.epoch >= last.epoch;
    const same = ({ epoch, after: end }: Epoch): boolean => epochs.some((one) => one.epoch === epoch && one.after === end);
    // Epochs that were lost with damage are ended at the head that was made then.
    return (
      known.slice(-this.#epochsKept).every((one) => same(one) || epochs.length >= this.#epochsKept) &&
      epochs.every((one) => one.epoch <= last.epoch || one.after === after)
    );
  }

  #snapshot({ after, snapshot }: Header): void {
    const restored = fromSnapshot(snapshot, { sessionId: this.#sessionId, seq: after });
    const place = { path: this.#path, line: 1 };
    if (restored === null && this.#decided !== null)
      return this.#findings.note("snapshot_unusable", {
        ...place,
        what: "this version cannot use the snapshot in its head",
        mend: "nothing to do",
        next_start: "the frames before it are read instead",
      });
    if (restored === null)
      return this.#findings.wrong("snapshot_unusable", {
        ...place,
        what: "this version cannot use the snapshot in its head, and the frames before it are not all there",
        mend: `start the version that wrote it, or ${backup}`,
        next_start: "the session goes on with what the frames that are left come to",
      });
    if (this.#decided !== null && !isDeepStrictEqual(plain(this.#decided), plain(restored.decided)))
      this.#findings.wrong("snapshot_differs", {
        ...place,
        what: "the snapshot in its head is not what the frames before it come to: one of the two was changed",
        mend: backup,
        next_start: "the snapshot is believed",
      });
    this.#decided = restored.decided;
  }

  #epoch(epoch: Epoch): Fault | null {
    const due = (this.#epochs?.list.at(-1)?.epoch ?? epoch.epoch - 1) + 1;
    const seq = this.#seq ?? epoch.after;
    if (epoch.epoch !== due || epoch.after !== seq)
      return { kind: "epoch_wrong", what: `an epoch record says ${epoch.epoch} behind frame ${epoch.after} where ${due} behind frame ${seq} is due` };
    this.#epochs ??= { list: [], exact: false };
    this.#epochs.list.push(epoch);
    return null;
  }

  #outOfOrder(seq: number, next: number): Fault {
    if (next <= seq) return { kind: "seq_hole", what: `frame ${next} stands behind frame ${seq}` };
    return { kind: "seq_hole", what: `${frameNames(seq + 1, next - 1)} missing before this line` };
  }

  /** What a start does not ask: it takes a frame as it is, because it was asked when it was written. */
  #judge(frame: Frame, place: { path: string; line: number; offset: number }): void {
    const { type } = frame.event;
    const parsed = frameSchema.safeParse(frame);
    // A type of a newer version changes nothing but the number.
    if (!parsed.success && Object.hasOwn(eventTable, type)) {
      const issue = parsed.error.issues[0];
      this.#findings.wrong("frame_invalid", {
        ...place,
        what: `frame ${frame.seq} (${type}) is not what its kind should be, at ${issue?.path.join(".") || "its top"}`,
        mend: backup,
        next_start: "it is taken as it is",
      });
    }
    if (this.#decided === null) return;
    try {
      this.#decided = decide(this.#decided, frame);
    } catch {
      this.#decided = null;
      this.#findings.wrong("frame_invalid", {
        ...place,
        what: `frame ${frame.seq} (${type}) cannot be folded into what comes before it`,
        mend: backup,
        next_start: "this session cannot be opened; the others can",
      });
    }
  }
}

/** As it would be written: what is undefined is not there. The time in a snapshot may be that of a frame behind it. */
const plain = (decided: Decided): unknown => JSON.parse(JSON.stringify(snapshotOf(decided, 0)));

/** False where bytes were replaced to make text of them. */
async function isExact(file: DiskFile, { text, offset, end }: Line): Promise<boolean> {
  const bytes = await file.read(offset, end - offset - 1);
  return bytes.equals(Buffer.from(text));
}

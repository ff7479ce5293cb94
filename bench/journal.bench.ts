import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { SessionEvent } from "@sessiond/shared";
import { BareFile } from "./bare-file.ts";
import { applyAll, BareJournal, openLog } from "./bare-journal.ts";
import { pairs, type Compared } from "./pairs.ts";
import { inShort, type Bench, type How, type Row } from "./row.ts";

/**
 * Events a second onto the disk: the daemon's journal and room against a loop that writes and syncs the same batches.
 * Both in this process, by turns, on the file system of the repository: where temporary files are kept in memory, a
 * sync would cost nothing.
 */
export const journal: Bench = {
  name: "journal",
  about: "events/s onto the disk, in batches and durable one at a time; limit: the same batches by write + fdatasync alone",
  run: async (how) => {
    const rows: Row[] = [];
    for (const work of works) {
      rows.push(await rowOf(how, work, (directory) => BareJournal.open(directory), { atLeast: 0.8 }));
      how.tell(`${work.what}: done`);
    }
    rows.push(await rowOf(how, { what: "journal, … with validation, encoding and folding", files: 1, batches: 8, framesEach: 256 }, openSession, null));
    return rows;
  },
};

/** What is done in one go, by one side and then by the other: short, because disks and neighbours have their moods. */
interface Work {
  readonly what: string;
  readonly files: number;
  /** To each file. */
  readonly batches: number;
  readonly framesEach: number;
}

const works: readonly Work[] = [
  { what: "journal, batches of 256", files: 1, batches: 8, framesEach: 256 },
  { what: "journal, one at a time", files: 1, batches: 25, framesEach: 1 },
  { what: "journal, 200 sessions at once", files: 200, batches: 2, framesEach: 1 },
  { what: "journal, 200 sessions, batches of 16", files: 200, batches: 2, framesEach: 16 },
];

/** A chunk's frame as it lies in a journal. */
const textOf = (seq: number): string => `{"seq":${seq},"at":1790000000000,"event":${JSON.stringify(chunk)}}`;
const turn_id = `trn_${"0".repeat(22)}`;
const chunk: SessionEvent = {
  type: "agent_message_chunk",
  turn_id,
  message_id: "msg_0123456789",
  content: { type: "text", text: "forty characters of an answer, or so.   " },
};

interface File {
  /** Durable when it resolves. */
  batch(texts: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

type Opens = (directory: string) => Promise<File>;

/** Pairs of a row: with 25 of the largest batches two segments get full, and none is compacted yet, which would go on beside the other side. */
const pairsOf = (short: boolean): number => (short ? 11 : 25);

async function rowOf(how: How, work: Work, ours: Opens, bar: Row["bar"]): Promise<Row> {
  const root = mkdtempSync(join(how.dir, "journal-"));
  const open: File[] = [];
  const opened = async (opens: Opens): Promise<readonly File[]> => {
    const files: File[] = [];
    for (let n = 0; n < work.files; n++) files.push(await opens(mkdtempSync(join(root, "s-"))));
    open.push(...files);
    return files;
  };
  try {
    const [mine, bare] = [await opened(ours), await opened((directory) => BareFile.open(directory))];
    const compared = await pairs(
      pairsOf(how.short),
      () => play(work, mine),
      () => play(work, bare),
    );
    return row(work.what, compared, bar);
  } finally {
    for (const file of open) await file.close();
    rmSync(root, { recursive: true, force: true });
  }
}

/** @returns events a second */
async function play({ files, batches, framesEach }: Work, open: readonly File[]): Promise<number> {
  const texts = Array.from({ length: framesEach }, (_, frame) => textOf(frame + 1));
  const begun = performance.now();
  await Promise.all(
    open.map(async (file) => {
      for (let batch = 0; batch < batches; batch++) await file.batch(texts);
    }),
  );
  return (files * batches * framesEach) / ((performance.now() - begun) / 1000);
}

const row = (what: string, { sessiond, limit, ratio, spread }: Compared, bar: Row["bar"]): Row => ({
  what,
  sessiond: `${inShort(sessiond)} events/s`,
  limit: `${inShort(limit)} events/s`,
  ratio,
  spread,
  bar,
});

/** For information: what comes before the journal, in a session in the middle of a turn. */
async function openSession(directory: string): Promise<File> {
  const log = await openLog(directory);
  await applyAll(log, [
    { type: "session_started", life: 1, workdir: "/w", agent: "a", model: "m" },
    { type: "turn_started", turn_id, prompt_ids: [`prm_${"0".repeat(22)}`] },
  ]);
  return {
    batch: (texts) =>
      applyAll(
        log,
        Array.from(texts, () => chunk),
      ),
    close: () => log.close(),
  };
}

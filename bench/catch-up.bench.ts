import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Host, Session } from "@sessiond/client";
import { openLog } from "./bare-journal.ts";
import { CountedHome, type Spent } from "./counted-home.ts";
import { fillTo } from "../test/support/long-log.ts";
import type { ModelReady } from "./model.ts";
import { inShort, type Bench, type How, type Row } from "./row.ts";
import { SideProcess } from "./side-process.ts";

/**
 * What it costs to come late: the bytes that a real daemon reads from journals, against those that were missed and one
 * snapshot. Bytes are the same on every machine, so each is measured once; times are printed and not judged.
 */
export const catchUp: Bench = {
  name: "catch-up",
  about: "reattach, attach, wake, start and page back beside a long journal; limit: bytes of what is missed + one snapshot",
  async run(how) {
    const model = await SideProcess.start<ModelReady>(how.dir, "model");
    try {
      const rows: Row[] = [];
      for (const part of [reattach, longJournal, startBeside]) {
        const home = new CountedHome(`[model]\nname = "m"\nbase_url = "${model.ready.baseURL}"\napi_key = "k"\n`);
        try {
          rows.push(...(await part(how, home)));
        } finally {
          await home.close();
        }
      }
      return rows;
    } finally {
      await model.end();
    }
  },
};

const missed = 10_000;
const headBytes = 1_024;

/** What was read against what had to be, in bytes. */
const row = (what: string, { read, ms }: Pick<Spent, "read" | "ms">, needed: number): Row => ({
  what: `catch-up, ${what}`,
  sessiond: `${inBytes(read)} read (${ms.toFixed(1)} ms)`,
  limit: inBytes(needed),
  ratio: read / needed,
  spread: null,
  bar: { atMost: 1 },
});

const inBytes = (bytes: number): string => `${inShort(bytes)}B`;

async function snapshotBytes(session: Session): Promise<number> {
  const seat = await session.attach({ as: "viewer" });
  const bytes = Buffer.byteLength(JSON.stringify(seat.state));
  await seat.detach();
  return bytes;
}

async function reattach(_how: How, home: CountedHome): Promise<Row[]> {
  const host = await home.begin();
  const session = await host.startSession({ workdir: home.workdir });
  const driver = await session.attach({ as: "driver" });
  await driver.prompt("hello");
  const first = await home.view(session);
  const { cursor, seq } = first;
  first.end();
  await driver.prompt(`stream ${missed}`);
  const { seq: head } = await session.info();
  const needed = home.journal(session.id).reduce((sum, line) => sum + (line.seq > seq ? Buffer.byteLength(line.text) + 1 : 0), 0);
  const snapshot = await snapshotBytes(session);
  const spent = await home.spent(async () => {
    const reader = await home.view(session, cursor);
    await reader.until((one) => one.seq >= head);
    if (reader.gap !== null || reader.frames < missed) throw new Error(`missed ${missed}, got ${reader.frames}: ${reader.gap ?? ""}`);
    reader.end();
  });
  return [row(`reattach after ${inShort(missed)} events`, spent, needed + snapshot)];
}

/** One session with a journal of 100 MB, which is filled while no daemon runs. */
async function longJournal({ short, tell }: How, home: CountedHome): Promise<Row[]> {
  const bytes = (short ? 20 : 100) * 1e6;
  const name = `a journal of ${bytes / 1e6} MB`;
  const { id } = await (await home.begin()).startSession({ workdir: home.workdir });
  await home.end();
  const log = await openLog(home.sessionDir(id), id);
  while (log.counts.bytes < bytes) await fillTo(log, log.decided.state.seq + 1_000, { chunks: 60, chunkChars: 2_000 });
  await log.close();
  tell(`${name}: written`);

  const host = await home.begin();
  // It begins with its snapshot; what lies behind that was missed by who sleeps. The first bytes of a few others tell what they are.
  const newest = (home.segmentBytes(id).at(-1) ?? NaN) + headBytes;
  const woken = row(`wake beside ${name}`, await home.spent(() => host.openSession(id)), newest);
  const session = await host.openSession(id);
  const state = await snapshotBytes(session);
  const attached = await home.spent(async () => (await home.view(session)).end());
  const paged = async (what: string): Promise<Row> => {
    let given = 0;
    const spent = await home.spent(async () => {
      for (let before = (await session.info()).seq + 1, more = true; more;) {
        const page = await session.data({ before });
        for (const frame of page.frames) given += Buffer.byteLength(JSON.stringify(frame)) + 1;
        [before, more] = [page.frames[0]?.seq ?? 1, page.more];
      }
    });
    return row(`${what} ${name}`, spent, given + state);
  };
  return [woken, row(`attach beside ${name}`, attached, state), await paged("page back through"), await paged("page back again through")];
}

/** A registry of 10,000, of which one was left open by a daemon that was killed. */
async function startBeside({ short }: How, home: CountedHome): Promise<Row[]> {
  const stored = short ? 2_000 : 10_000;
  const first: Host = await home.begin();
  const session = await first.startSession({ workdir: home.workdir });
  const driver = await session.attach({ as: "driver" });
  await driver.prompt("hello");
  await home.end("SIGKILL");
  const path = join(home.stateDir, "registry.json");
  const registry = JSON.parse(readFileSync(path, "utf8")) as { sessions: { id: string; workdir: string }[] };
  const [pattern] = registry.sessions;
  for (let n = 0; n < stored; n++)
    registry.sessions.push({ ...pattern, stable: false, stopped: true, id: `ses_${`stored${n}`.padStart(22, "0")}`, workdir: `/w/${n}` } as never);
  writeFileSync(path, JSON.stringify(registry));
  const open = home.segmentBytes(session.id).reduce((sum, bytes) => sum + bytes, 0);
  const begun = performance.now();
  const host = await home.begin();
  const ms = performance.now() - begun;
  const opened = await host.openSession(session.id);
  const { read } = await home.counted();
  const needed = open + (await snapshotBytes(opened));
  return [row(`start beside ${inShort(stored)} stored sessions`, { read, ms }, needed)];
}
